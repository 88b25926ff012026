"""The whole way of some data in small: three attempts recorded, sent, judged, catalogued and built into a version and
its child, in one folder.

`live` does what is still to do, as robot and platform do when they are started again; `whole` says what must hold at
any moment, whatever died; `remains` is what has to be the same in the end.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.unit.data.bundles import KNOWN
from tests.unit.data.recording import OUTCOME, add, recorder
from volano.data import judge as judging
from volano.data.build import build_version
from volano.data.bundle import JOURNAL_FILE, MANIFEST_FILE, UPLOADED_FILE, read_manifest
from volano.data.catalogue import extend
from volano.data.catalogue_rows import EPISODES
from volano.data.conservation import count
from volano.data.finding import Finding
from volano.data.history import VERSIONS
from volano.data.judge import fetch_bundle
from volano.data.pages import Log, pages, read
from volano.data.repair import examine as examine_disk
from volano.data.sandbox import Bundle, Sound
from volano.data.sketch import EpisodeSketch
from volano.data.sketch_record import to_bytes
from volano.data.upload import pending, upload
from volano.data.validate import check_files, examine
from volano.data.verdict import Verdict, uploads, verdict_key
from volano.data.verdict import pending as unjudged
from volano.data.version import listed, materialize
from volano.storage.content import canonical_json, sha256_bytes, sha256_file
from volano.storage.folder import FolderStore
from volano.storage.parts import PartStore
from volano.storage.store import ObjectStore

ATTEMPTS = {"one": 0, "two": 50, "copy": 0}
"""Attempt to its first frame's number; the copy is the first attempt under another name."""
TICKS = 2
_CHANCE = re.compile(r"(?<=\.partial/)[0-9a-f]{32}$|(?<=\.)[0-9a-f]{16}$")
"""What of a file's name is drawn by chance."""
Tell = Callable[[str], None]


def check(bundles: Sequence[Bundle]) -> list[Finding | None]:
    """What the real checks find, without a child."""
    return [one if isinstance(one, Finding) else None for one in look(bundles)]


def look(bundles: Sequence[Bundle]) -> list[Finding | Sound | None]:
    """All that the child would say."""
    found = [examine(bundle.folder, bundle.manifest, bundle.embodiment) for bundle in bundles]
    return [Sound(record=to_bytes(one)) if isinstance(one, EpisodeSketch) else one for one in found]


def prepare(place: Path) -> Path:
    """A folder in which nothing has happened yet."""
    for name in ("disk", "store", "tmp"):
        (place / name).mkdir(parents=True)
    return place


def live(place: Path, tell: Tell) -> None:
    """Do what is left to do; `tell` hears of everything that was acknowledged."""
    tempfile.tempdir = str(place / "tmp")
    record(place / "disk", tell)
    carry(place / "disk", FolderStore(place / "store"), tell)


def warm(place: Path) -> None:
    """Live once, so that forked children find everything imported."""
    before = tempfile.tempdir
    live(prepare(place), lambda _line: None)
    tempfile.tempdir = before


def carry(disk: Path, store: PartStore, tell: Tell) -> None:
    """From the robot's disk to the versions."""
    for bundle in pending(disk):
        tell(f"sent {upload(store, bundle, sleep=lambda _s: None).key}")
    for verdict in judging.judge(store, unjudged(store), KNOWN, look):
        tell(f"judged {verdict.upload} {verdict.verdict}")
    extend(store)
    first = build_version(store, parent="", reason="life", select=lambda one: float(one.attempt != "two"), known=KNOWN)
    tell(f"built {first.id}")
    child = build_version(store, parent=first.id, reason="more", select=lambda _one: 1.0, known=KNOWN)
    tell(f"built {child.id}")


def record(disk: Path, tell: Tell) -> None:
    """The robot's part."""
    for attempt, first in ATTEMPTS.items():
        if not (disk / attempt / MANIFEST_FILE).exists():
            tell(f"begin {attempt}")
            with recorder(disk, attempt) as recording:
                for number in range(first, first + TICKS):
                    add(recording, number)
                    tell(f"tick {attempt}")
                recording.finish(OUTCOME)
            tell(f"finished {attempt}")


def whole(place: Path, told: Sequence[str], *, ticks_survive: bool = True) -> None:
    """Raise AssertionError unless everything that is visible is whole, and all that was acknowledged is there."""
    disk, store = place / "disk", FolderStore(place / "store")
    repairs = {found.attempt: found for found in examine_disk(disk)}
    for attempt in ATTEMPTS:
        if (disk / attempt / MANIFEST_FILE).exists():
            finding = check_files(disk / attempt, read_manifest(disk / attempt))
            assert finding is None, f"{attempt} is complete and damaged: {finding}"
        else:
            assert f"finished {attempt}" not in told, f"{attempt} was finished and is gone"
            begun = [number for number, line in enumerate(told) if line == f"begin {attempt}"]
            found, ticks = repairs.get(attempt), told[begun[-1] :].count(f"tick {attempt}") if begun else 0
            if ticks and ticks_survive:
                assert found is not None, f"{attempt} is gone"
                assert found.status in {"torn", "hopeless"}, f"{attempt} is {found.status}"
                assert found.kept + found.dropped >= ticks, f"{attempt} lost ticks: {found}"
        if (disk / attempt / UPLOADED_FILE).exists():
            assert f"uploads/rover-01/{attempt}.json" in uploads(store), f"{attempt} is marked and was not sent"
    with tempfile.TemporaryDirectory(dir=place / "tmp") as scratch:
        _stored(Path(scratch), store, told)


def _stored(scratch: Path, store: ObjectStore, told: Sequence[str]) -> None:
    count(store)
    sent = uploads(store)
    for number, key in enumerate(sent):
        manifest = judging.read_manifest(store, key)
        folder = scratch / str(number)
        finding = fetch_bundle(store, manifest, folder) or check_files(folder, manifest)
        assert finding is None, f"{key} is visible and not whole: {finding}"
    for version in listed(store):
        materialize(store, version.id, scratch / version.id)
    for line in told:
        what, *words = line.split()
        if what == "sent":
            assert words[0] in sent, f"{line}, and it is gone"
        elif what == "judged":
            assert store.exists(verdict_key(words[0])), f"{line}, and the verdict is gone"
            assert Verdict.from_bytes(store.get(verdict_key(words[0]))).verdict == words[1], f"{line}, and not any more"
        elif what == "built":
            assert store.exists(f"datasets/{words[0]}/version.json"), f"{line}, and it is gone"


def remains(place: Path) -> dict[str, str]:
    """Every object and every file of the robot's disk, by hash. Left out are litter of the dead and a receipt's words:
    whether the store had the upload before."""
    found = objects(FolderStore(place / "store"))
    for path in sorted((place / "disk").rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.name != JOURNAL_FILE:
            content = b"" if path.name == UPLOADED_FILE else path.read_bytes()
            found[str(path.relative_to(place))] = sha256_bytes(content)
    return found


def state(place: Path, told: Sequence[str]) -> str:
    """What is left and was said, by hash: what starts again finds nothing else, so equal states end equally. Many
    effects leave a disk as it was."""
    found = [
        (_CHANCE.sub("", str(path.relative_to(place))), sha256_file(path) if path.is_file() else "")
        for part in ("disk", "store")
        for path in (place / part).rglob("*")
    ]
    return sha256_bytes(canonical_json([sorted(found), list(told)]))


def objects(store: ObjectStore) -> dict[str, str]:
    """Every object, by hash; of the catalogue its rows, whichever pages they are in."""
    found = {info.key: sha256_bytes(store.get(info.key)) for info in store.list("")}
    rows = Counter(f"{log.prefix}{row}" for log in (EPISODES, VERSIONS) for row in _rows(store, log))
    return {key: sha256 for key, sha256 in found.items() if not key.startswith("catalogue/")} | {
        row: f"{count} times" for row, count in rows.items()
    }


def _rows(store: ObjectStore, log: Log) -> list[dict[str, object]]:
    return [row for rows in read(store, log, pages(store, log)) for row in rows.to_pylist()]


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Names that one of them lacks, or has with other bytes."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
