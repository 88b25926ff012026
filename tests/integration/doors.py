"""A real door for uploads in a thread of this process, over any store, with two robots enrolled."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from serving.papers import Papers
from serving.ports import listening_socket
from serving.tls import Tls
from serving.uploads import UploadDoor, server
from tests.integration.gateways import GENEROUS
from tests.unit.data.bundles import ROVER
from tests.unit.data.memory_store import Killed
from volano.data.bundle import read_manifest
from volano.data.door import Errand, Platform
from volano.data.intake import Allowance, Intake
from volano.data.send import question_of
from volano.ledger.ledger import Ledger, open_ledger
from volano.ledger.records import Robot
from volano.registry.trust import Trust
from volano.storage.parts import PartStore

KEY = Ed25519PrivateKey.generate()
ROBOTS = ("rover-01", "rover-02")
_END_S = 30.0


@dataclass(kw_only=True)
class OpenDoor:
    """A door that answers."""

    store: PartStore
    ledger: Ledger
    url: str
    now: list[float]
    """What the door takes for the time, as its one element; empty: the real one."""

    def key(self, robot: str = ROBOTS[0]) -> str:
        """A robot's key."""
        return f"key-of-{robot}"

    def platform(self, robot: str = ROBOTS[0]) -> Platform:
        """A robot's connection."""
        return Platform(self.url, self.key(robot), timeout_s=20)


@contextmanager
def open_door(
    store: PartStore,
    folder: Path,
    allowance: Allowance | None = None,
    *,
    reached: PartStore | None = None,
    tls: Tls | None = None,
) -> Iterator[OpenDoor]:
    """Start a door, stop it at the end."""
    now: list[float] = []
    with open_ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        for robot in ROBOTS:
            record = Robot(
                id=robot,
                embodiment=ROVER.tag,
                fingerprint=ROVER.fingerprint,
                site="test",
                enrolled_at=1.0,
                revoked=False,
            )
            ledger.enroll_robot(record, f"key-of-{robot}", "test")
        intake = Intake(store, ledger, KEY, allowance or Allowance())
        papers = Papers(store, ledger, Trust(anchor=folder / "keys" / "root.json", state=folder / "trusted.json"))
        door = UploadDoor(
            store,
            ledger,
            intake,
            papers,
            reached=reached,
            tls=tls,
            limits=GENEROUS,
            clock=lambda: now[0] if now else time.time(),
        )
        running, listening = server(door), listening_socket("127.0.0.1", 0)
        thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
        thread.start()
        until = time.monotonic() + _END_S
        while not running.started and time.monotonic() < until:
            time.sleep(0.01)
        try:
            port = listening.getsockname()[1]
            yield OpenDoor(
                store=store, ledger=ledger, url=f"{'http' if tls is None else 'https'}://127.0.0.1:{port}", now=now
            )
        finally:
            running.should_exit = True
            thread.join(timeout=_END_S)
            assert not thread.is_alive(), "the door does not close"


class DyingPlatform(Platform):
    """The robot dies right before its request `last`, or right after."""

    def __init__(self, door: OpenDoor, last: int, *, after: bool) -> None:
        super().__init__(door.url, door.key(), timeout_s=20)
        self.last, self.after, self.done = last, after, 0
        self.put_pieces: list[tuple[str, int]] = []

    def ask(self, question: bytes) -> bytes | list[Errand]:
        self._count(before=True)
        answer = super().ask(question)
        self._count(before=False)
        return answer

    def put(self, errand: Errand, data: bytes) -> bool:
        self._count(before=True)
        taken = super().put(errand, data)
        self.put_pieces.append((errand.name, errand.start))
        self._count(before=False)
        return taken

    def _count(self, *, before: bool) -> None:
        self.done += before
        if self.done == self.last and before is not self.after:
            raise Killed


def check_bundle_in(store: PartStore, bundle: Path) -> None:
    """The bundle is there, and nothing that is not a bundle's."""
    manifest = read_manifest(bundle)
    assert store.get(manifest.upload_key) == manifest.to_bytes()
    for name, entry in manifest.files.items():
        assert store.get(f"blobs/{entry.sha256}") == (bundle / name).read_bytes()
    assert {info.key.split("/")[0] for info in store.list("")} == {"blobs", "uploads"}


def errands(door: OpenDoor, bundle: Path) -> list[Errand]:
    """Where the door says that a bundle's pieces go."""
    found = door.platform(read_manifest(bundle).robot).ask(question_of(bundle, read_manifest(bundle)))
    assert isinstance(found, list)
    return found
