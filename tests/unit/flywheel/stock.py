"""A store, runs and a ledger in which lineage leads somewhere: five episodes, two versions, three runs."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.unit.data.bundles import KNOWN, ROVER, Draft, claims_with, upload, write_bundle
from tests.unit.data.quarantined import check
from volano.data.build import accepted, build_version
from volano.data.episode import FileEntry
from volano.data.judge import judge
from volano.data.verdict import pending
from volano.embodiment.shipped import SCOUT
from volano.ledger.ledger import open_ledger
from volano.ledger.records import PolicyRecord, Robot
from volano.registry.manifest import MANIFEST, Lineage, Manifest
from volano.storage.content import sha256_bytes
from volano.storage.folder import FolderStore


@dataclass(frozen=True, kw_only=True)
class Stock:
    """Where everything is, and what it is called."""

    store: FolderStore
    ledger: str
    runs: Path
    contents: tuple[str, ...]
    """Of the robots' episodes, oldest first."""
    first: str
    """The version of the first three episodes, all of arm-06."""
    second: str
    """The version of all five, its child; the last two are of arm-07."""
    bad: str
    """Digest of the policy that was trained on the second version."""
    heir: str
    """Digest of one trained on the first version, but from the other's weights."""


def make(folder: Path) -> Stock:
    """Build it below a folder that exists."""
    (folder / "store").mkdir()
    store = FolderStore(folder / "store")
    for number in range(5):
        robot = "arm-06" if number < 3 else "arm-07"
        draft = Draft(seed=number, robot=robot, attempt=f"attempt-{number}", frames=4, first_number=10 * number)
        manifest = write_bundle(folder / str(number), draft)
        upload(store, folder / str(number), claims_with(manifest, started_at=1_600_001_000.0 + number))
    judge(store, pending(store), KNOWN, check)
    episodes = sorted(accepted(store), key=lambda one: one.started_at)
    old = {one.content_id for one in episodes[:3]}
    first = build_version(
        store, parent="", reason="first", select=lambda one: float(one.content_id in old), known=KNOWN
    ).id
    second = build_version(
        store, parent=first, reason="more", select=lambda one: 2.0 if one.content_id in old else 1.0, known=KNOWN
    ).id
    clean, bad = _policy("clean", first), _policy("bad", second)
    heir = _policy("heir", first, parent=bad.digest)
    runs = folder / "runs"
    for name, trained, version, parent in (
        ("clean", clean, first, ""),
        ("bad", bad, second, ""),
        ("heir", heir, first, str((runs / "bad" / "policy").resolve())),
    ):
        _run(runs / name, trained, version, parent)
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    with open_ledger(ledger) as opened:
        for number, one in enumerate((clean, bad, heir), 1):
            opened.put_policy(_record(one, number), "test", 1.0)
        for robot, embodiment in (("arm-06", ROVER), ("arm-07", ROVER), ("scout-01", SCOUT)):
            record = Robot(
                id=robot,
                embodiment=embodiment.tag,
                fingerprint=embodiment.fingerprint,
                site="lab",
                enrolled_at=1.0,
                revoked=False,
            )
            opened.enroll_robot(record, f"key of {robot}", "test")
        opened.set_current(ROVER.fingerprint, heir.digest, "test", 2.0)
        opened.set_current(SCOUT.fingerprint, clean.digest, "test", 2.0)
    return Stock(
        store=store,
        ledger=ledger,
        runs=runs,
        contents=tuple(one.content_id for one in episodes),
        first=first,
        second=second,
        bad=bad.digest,
        heir=heir.digest,
    )


def _policy(name: str, version: str, parent: str = "") -> Manifest:
    lineage = Lineage(
        dataset_versions=(version,), config_digest=sha256_bytes(name.encode()), code_revision="r1", parent=parent
    )
    files = {"model.safetensors": FileEntry(size=1, sha256=sha256_bytes(name.encode()))}
    return Manifest(files=files, embodiments={"rover": ROVER.fingerprint}, lineage=lineage)


def _record(manifest: Manifest, number: int) -> PolicyRecord:
    text = manifest.to_bytes().decode()
    return PolicyRecord(digest=manifest.digest, model_name="policy", version=number, status="released", manifest=text)


def _run(folder: Path, manifest: Manifest, version: str, parent: str) -> None:
    (folder / "policy").mkdir(parents=True)
    (folder / "policy" / MANIFEST).write_bytes(manifest.to_bytes())
    request = {"recipe": "nano", "version": version, "parent": parent, "output": str(folder), "store": "store"}
    (folder / "run.json").write_text(
        json.dumps({"request": request, "config": {"stages": []}, "config_digest": "c" * 64})
    )
