"""What it costs to make a dataset version of uploads whose videos can stay as they are.

Two parts, apart: the gate, which decodes every frame to look at it, beside decoding alone; and the version, which
fetches, compares hashes, joins and writes, beside reading the packets of the same files, hashing and writing them. Both
together are held against LeRobot's writer, which encodes, in an environment of its own (`--peer FOLDER`).
`python -m benchmarks.ingest_passthrough --json FILE [--quick] [--peer FOLDER]`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import av

from benchmarks.attempts import arm, draft, send
from benchmarks.lerobot_peer import PEER, Missing, saved
from benchmarks.measuring import Result, missing, report, speed, timed
from tests.unit.data.bundles import Draft
from volano.data.build import build_version
from volano.data.catalogue import extend
from volano.data.episode import Manifest
from volano.data.judge import judge, read_manifest
from volano.data.sandbox import Limits, check_bundles
from volano.embodiment.contract import Embodiment
from volano.storage.content import sha256_bytes
from volano.storage.files import write_synced
from volano.storage.folder import FolderStore
from volano.storage.store import ObjectStore

_CAMERAS = 3
_CODEC = {"preset": "veryfast", "crf": "23", "g": "15", "bf": "0"}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is ingested."""

    sides: tuple[tuple[int, int], ...]
    groups: int
    episodes: int
    """Of a group: what one ingest finds."""
    frames: int


FULL = Size(sides=((224, 224), (480, 640)), groups=8, episodes=8, frames=200)
QUICK = Size(sides=((224, 224),), groups=2, episodes=2, frames=60)


def judged(store: ObjectStore, uploads: Sequence[str], robot: Embodiment) -> None:
    """The gate, and the rows of the catalogue."""
    known = {robot.fingerprint: robot}
    found = judge(store, uploads, known, lambda bundles: check_bundles(bundles, Limits()))
    assert {one.verdict for one in found} == {"accepted"}, found
    extend(store)


def built(store: ObjectStore, robot: Embodiment) -> None:
    """The version of all of them."""
    known = {robot.fingerprint: robot}
    build_version(store, parent="", reason="all", select=lambda _one: 1.0, known=known)


def decoded(store: ObjectStore, manifests: Sequence[Manifest]) -> None:
    """The gate's limit: every frame out of its video, in one thread, and nothing done with it."""
    for data in _files(store, manifests, ".mp4"):
        with av.open(BytesIO(data), mode="r") as container:
            container.streams.video[0].codec_context.thread_count = 1
            for _ in container.decode(video=0):
                pass


def copied(store: ObjectStore, manifests: Sequence[Manifest], folder: Path) -> None:
    """The version's limit: packets read, bytes hashed and written through to the disk."""
    folder.mkdir()
    for number, data in enumerate(_files(store, manifests, "")):
        sha256_bytes(data)
        if data[4:8] == b"ftyp":
            with av.open(BytesIO(data), mode="r") as container:
                for _ in container.demux(video=0):
                    pass
        write_synced(folder / str(number), [data], 0o644)


def _files(store: ObjectStore, manifests: Sequence[Manifest], suffix: str) -> list[bytes]:
    files = [entry for one in manifests for name, entry in sorted(one.files.items()) if name.endswith(suffix)]
    return [store.get(f"blobs/{entry.sha256}") for entry in files]


def measure(folder: Path, side: tuple[int, int], size: Size, peer: Path) -> list[Result]:
    """One size of pictures: pairs of groups, each in a store of its own, who is first taking turns."""
    robot = arm(_CAMERAS, *side)
    spent: dict[str, list[float]] = {name: [] for name in ("gate", "decode", "version", "copy")}
    groups = list[list[Draft]]()
    for group in range(size.groups):
        place = folder / str(group)
        (place / "store").mkdir(parents=True)
        store = FolderStore(place / "store")
        groups.append([draft(robot, group * size.episodes + number, size.frames) for number in range(size.episodes)])
        uploads = [send(store, place / "bundles" / one.attempt, one) for one in groups[-1]]
        manifests = [read_manifest(store, upload) for upload in uploads]
        work = {
            "gate": lambda: judged(store, uploads, robot),  # noqa: B023  # done at once, as all of these
            "decode": lambda: decoded(store, manifests),  # noqa: B023
            "version": lambda: built(store, robot),  # noqa: B023
            "copy": lambda: copied(store, manifests, place / "copy"),  # noqa: B023
        }
        for first, second in (("gate", "decode"), ("version", "copy")):
            for name in (first, second) if group % 2 else (second, first):
                spent[name].append(timed(work[name]).cpu_s)
    return [*_rows(f"{_CAMERAS} cameras of {side[0]} x {side[1]}", spent), _peer(folder, side, groups, spent, peer)]


def _rows(what: str, spent: dict[str, list[float]]) -> list[Result]:
    both = [gate + version for gate, version in zip(spent["gate"], spent["version"], strict=True)]
    limit = "packets read, hashed, written"
    return [
        speed(f"version, {what}", spent["version"], spent["copy"], name=limit, must=0.5, aim=0.7),
        speed(f"gate, {what}", spent["gate"], spent["decode"], name="decoding alone", must=None, aim=None),
        speed(f"gate and version, {what}", both, spent["copy"], name=limit, must=None, aim=None),
    ]


def _peer(
    folder: Path, side: tuple[int, int], groups: Sequence[Sequence[Draft]], spent: dict[str, list[float]], peer: Path
) -> Result:
    metric = f"gate and version, {_CAMERAS} cameras of {side[0]} x {side[1]}, over LeRobot"
    both = [gate + version for gate, version in zip(spent["gate"], spent["version"], strict=True)]
    try:
        theirs = [
            sum(one.cpu_s for one in saved(peer, folder / f"lerobot-{number}", drafts, _CODEC))
            for number, drafts in enumerate(groups)
        ]
    except Missing as error:
        return missing(metric, str(error), must=10.0, aim=50.0)
    return speed(metric, both, theirs, name="LeRobot's writer, which encodes", must=10.0, aim=50.0)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="rough: few short episodes, small pictures")
    parser.add_argument("--peer", type=Path, default=PEER, help="LeRobot's environment, if there is one")
    arguments = parser.parse_args()
    size, results = QUICK if arguments.quick else FULL, list[Result]()
    for side in size.sides:
        with tempfile.TemporaryDirectory(prefix="volano-benchmark-") as scratch:
            results += measure(Path(scratch), side, size, arguments.peer)
    report("ingest_passthrough", results, arguments.json, quick=arguments.quick)


if __name__ == "__main__":
    main()
