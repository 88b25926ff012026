"""The checks notice each safety step that somebody takes out: by kills, or by power cuts, at every effect."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.sweeps import life
from tests.sweeps.conftest import SWEPT
from tests.sweeps.crashes import Disk, Effects, in_child, kill
from tests.sweeps.life import differences, live, prepare, remains, state, warm, whole
from tests.sweeps.test_kill_sweep import Log, silent
from volano.data import assemble, build, judge, record, recording, upload, verdict, version
from volano.data.bundle import JOURNAL_FILE, MANIFEST_FILE, UPLOADED_FILE, read_manifest
from volano.data.verdict import Verdict
from volano.storage import files, folder
from volano.storage.content import canonical_json

pytestmark = pytest.mark.slow
_PARTS = 4
_LEAST_CUTS = 400
_STRIDE = 32
"""So far apart are the first crashes: most bugs show over many effects."""
Patch = tuple[object, str, Callable[..., Any]]


@pytest.fixture(scope="module", autouse=True)
def warmed(tmp_path_factory: pytest.TempPathFactory) -> None:
    warm(tmp_path_factory.mktemp("warm"))


def nothing(*_arguments: object) -> None:
    """The step that was taken out."""


def unsynced(path: Path, chunks: Iterable[bytes], mode: int) -> None:
    """`write_synced` without the sync."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    for chunk in chunks:
        os.write(descriptor, chunk)
    os.close(descriptor)


def in_place(path: Path, chunks: Iterable[bytes]) -> None:
    """`replace_file` without another name first."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for chunk in chunks:
        os.write(descriptor, chunk[: len(chunk) // 2])
        os.write(descriptor, chunk[len(chunk) // 2 :])
    os.close(descriptor)


def published_in_place(_store: folder.FolderStore, target: Path, chunks: Iterable[bytes]) -> bool:
    """An object that is visible while it is written."""
    with target.open("xb", buffering=0) as file:
        for chunk in chunks:
            os.write(file.fileno(), chunk[:10])
            os.write(file.fileno(), chunk[10:])
    return True


def journal_first(bundle: Path, manifest: Any) -> None:
    """`commit` that lets go of the journal before the manifest is there."""
    (bundle / JOURNAL_FILE).unlink()
    files.replace_file(bundle / MANIFEST_FILE, [manifest.to_bytes()])


def manifest_first(store: Any, bundle: Path, **_options: object) -> Any:
    """An upload whose manifest is visible before its files."""
    manifest = read_manifest(bundle)
    store.put_new(f"uploads/{manifest.robot}/{manifest.attempt}.json", manifest.to_bytes())
    return upload.upload(store, bundle)


def marked_first(store: Any, bundle: Path, **_options: object) -> Any:
    """An upload that the robot thinks is done before it is."""
    files.replace_file(bundle / UPLOADED_FILE, [b"{}"])
    return upload.upload(store, bundle)


def verdict_first(store: Any, upload_key: str, manifest: Any, finding: Any) -> Verdict:
    """A verdict that is visible before its claim."""
    if finding is None and not verdict.owner(store, manifest.content_id):
        done = Verdict(upload=upload_key, content_id=manifest.content_id, verdict="accepted", code="", evidence="")
        store.put_new(verdict.verdict_key(upload_key), done.to_bytes())
    return _DECIDE(store, upload_key, manifest, finding)


_DECIDE = judge._decide


def record_first(store: Any, place: Path, made: version.DatasetVersion, here: Any = None) -> str:
    """A version that is visible before its files."""
    store.put_new(f"datasets/{made.id}/version.json", made.to_bytes())
    return version.commit(store, place, made, here)


def owned_by_all(store: Any, content_id: str, upload_key: str) -> str:
    """A claim that everybody wins."""
    store.put_new(verdict.claim_key(content_id), canonical_json({"upload": upload_key}))
    return upload_key


def held_back(journal: recording.Journal, pieces: Iterable[bytes]) -> None:
    """A journal that keeps ticks in memory until something else is written."""
    waiting = vars(journal).setdefault("_waiting", [])
    waiting.append(list(pieces))
    if b'"tick"' not in waiting[-1][0]:
        for one in waiting:
            _WRITE(journal, one)
        waiting.clear()


_WRITE = recording.Journal._write

BUGS: dict[str, tuple[str, list[Patch]]] = {
    "files are not synced": ("cut", [(files, "write_synced", unsynced), (folder, "write_synced", unsynced)]),
    "a bundle's files are not synced": ("cut", [(assemble, "sync_file", nothing)]),
    "a bundle's folder is not synced": ("cut", [(assemble, "sync_folder", nothing), (recording, "sync_folder", nothing),
                                                (files, "sync_folder", nothing)]),
    "the folder of bundles is not synced": ("cut", [(record, "sync_folder", nothing)]),
    "a replaced file's folder is not synced": ("cut", [(files, "sync_folder", nothing)]),
    "the store's folders are not synced": ("cut", [(folder, "sync_folder", nothing)]),
    "files are written in place": ("kill", [(files, "replace_file", in_place), (assemble, "replace_file", in_place)]),
    "objects are written in place": ("kill", [(folder.FolderStore, "_publish", published_in_place)]),
    "the journal goes before the manifest": ("kill", [(record, "commit", journal_first)]),
    "the journal is written later": ("kill", [(recording.Journal, "_write", held_back)]),
    "the upload's manifest goes first": ("kill", [(life, "upload", manifest_first)]),
    "the robot's mark goes first": ("kill", [(life, "upload", marked_first)]),
    "the verdict goes before the claim": ("kill", [(judge, "_decide", verdict_first)]),
    "nobody asks who owns a content": ("kill", [(judge, "claim", owned_by_all), (judge, "owner", lambda *_a: "")]),
    "the version's record goes first": ("kill", [(build, "commit", record_first)]),
}  # fmt: skip
"""What is taken out, how it shows, and how it is done."""


def planted(patches: list[Patch]) -> ExitStack:
    """The bug, until the stack is closed."""
    stack = ExitStack()
    for owner, name, replacement in patches:
        stack.enter_context(patch.object(owner, name, replacement))
    return stack


def crash(kind: str, position: int, place: Path, log: Log, patches: list[Patch]) -> list[tuple[Path, bool]]:
    """Let it die at an effect; what is left, and whether it was a kill."""
    prepare(place)
    cuts = [place.with_name(f"{place.name}-{name}") for name in ("synced", "names")]

    def work() -> None:
        disk = Disk(place) if kind == "cut" else None

        def act(*_arguments: object) -> None:
            if disk is not None:
                for target, names in zip(cuts, (False, True), strict=True):
                    disk.cut(target, names=names)
            os.kill(os.getpid(), signal.SIGKILL)

        effects = Effects(position, act, disk=disk)
        with planted(patches), effects.watched():
            live(place, log.tell)
        act()

    assert in_child(work) == -signal.SIGKILL
    return [(cut, False) for cut in cuts if cut.exists()] if kind == "cut" else [(place, True)]


def healed(place: Path, told: list[str], expected: dict[str, str], patches: list[Patch], *, was_kill: bool) -> None:
    """Raise AssertionError unless all is there, and ends as without a crash, when the same program starts again."""
    (place / "tmp").mkdir(exist_ok=True)
    whole(place, told, ticks_survive=was_kill)
    with planted(patches), Effects(0, kill).watched():
        live(place, silent)
    whole(place, told, ticks_survive=was_kill)
    assert not (left := differences(remains(place), expected)), left


def noticed(tmp_path: Path, kind: str, patches: list[Patch], part: int = 0, parts: int = 1) -> tuple[str, int]:
    """Where the checks notice it first, of every `parts`-th effect, and after how many crashes; nowhere is empty."""

    def calm() -> None:
        with Effects(0, kill).watched():
            live(prepare(tmp_path / "right"), silent)
        effects = Effects(0, kill)
        with planted(noting(patches, effects, near := set[int]())), effects.watched():
            live(prepare(tmp_path / "wrong"), silent)
        (tmp_path / "calm").write_text(json.dumps([effects.seen, sorted(near), remains(tmp_path / "right")]))

    assert in_child(calm) == 0, "a bug that shows without a crash needs no sweep"
    total, near, expected = json.loads((tmp_path / "calm").read_text())
    known: set[str] = set()
    for crashes, position in enumerate(ordered(near, total)[part::parts], start=1):
        log = Log(tmp_path / "told")
        left = crash(kind, position, tmp_path / "place", log, patches)
        told = list(log.lines())
        log.close()
        for place, was_kill in left:
            found = state(place, told)
            if found in known:
                continue
            known.add(found)
            status = in_child(partial(healed, place, told, expected, patches, was_kill=was_kill))
            assert status in {0, 1}, "the test itself failed: see the traceback above"
            if status:
                return f"{kind} at effect {position} of {total}", crashes
        for place in tmp_path.glob("place*"):
            shutil.rmtree(place)
    return "", len(ordered(near, total)[part::parts])


def ordered(near: Sequence[int], total: int) -> list[int]:
    """Every position once, those first where something may be seen early; the last one is a crash behind everything."""
    positions = range(1, total + 2)
    return list(dict.fromkeys([*positions[::_STRIDE], *(p for p in near if p in positions), *positions]))


def noting(patches: list[Patch], effects: Effects, near: set[int]) -> list[Patch]:
    """The same, which also note the effects about each call of what was put in."""

    def noted(replacement: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            before = effects.seen
            try:
                return replacement(*arguments, **options)
            finally:
                near.update(range(before, effects.seen + 3))

        return call

    return [(owner, name, noted(replacement)) for owner, name, replacement in patches]


@pytest.mark.parametrize("part", range(_PARTS))
def test_what_is_in_place_survives_a_power_cut_anywhere(
    tmp_path: Path, part: int, record_property: Callable[[str, object], None]
) -> None:
    where, crashes = noticed(tmp_path, "cut", [], part, _PARTS)
    record_property(SWEPT, f"{crashes} power cuts")
    assert where == ""
    assert crashes * _PARTS >= _LEAST_CUTS


def test_ten_bugs_are_planted_at_the_least() -> None:
    assert len(BUGS) >= 10


@pytest.mark.parametrize("bug", BUGS)
def test_a_step_that_is_taken_out_is_noticed(
    bug: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kind, patches = BUGS[bug]
    where, crashes = noticed(tmp_path, kind, patches)
    record_property(SWEPT, f"noticed by a {where}, behind {crashes} crashes")
    assert where, "every check passed"
