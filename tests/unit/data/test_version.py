"""A version is its content: committed once, however often; verified whenever it is read."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.data.bundles import KNOWN, ROVER, Draft, upload, write_bundle
from tests.unit.data.committers import check_concurrent_committers
from tests.unit.data.memory_store import Killed, MemoryStore
from volano.data.build import build_version
from volano.data.episode import FileEntry, Manifest
from volano.data.finding import Finding
from volano.data.judge import judge
from volano.data.lerobot_read import read
from volano.data.sandbox import Bundle
from volano.data.validate import check_bundle
from volano.data.verdict import pending
from volano.data.version import (
    DatasetVersion,
    EpisodeReference,
    commit,
    describe_folder,
    diff,
    file_key,
    load,
    materialize,
    meant,
)
from volano.errors import Code, ContractError, DataError, StorageError
from volano.storage.open import open_store


def check(bundles: Sequence[Bundle]) -> list[Finding | None]:
    return [check_bundle(bundle.folder, bundle.manifest, bundle.embodiment) for bundle in bundles]


def every(_manifest: Manifest) -> float:
    return 1.0


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """A store with three accepted episodes."""
    made = MemoryStore()
    for seed in range(3):
        draft = Draft(seed=seed, attempt=f"attempt-{seed}", frames=4, first_number=10 * seed)
        upload(made, tmp_path / str(seed), write_bundle(tmp_path / str(seed), draft))
    judge(made, pending(made), KNOWN, check)
    return made


def build(store: MemoryStore, **changes: object) -> DatasetVersion:
    settings = {"parent": "", "reason": "first", "select": every, "known": KNOWN, **changes}
    return build_version(store, **settings)  # type: ignore[arg-type]  # settings by name


def test_building_twice_is_one_version(store: MemoryStore) -> None:
    first = build(store)
    before = dict(store.objects)
    assert build(store).id == first.id
    assert store.objects == before


def test_a_version_reads_back_anywhere(store: MemoryStore, tmp_path: Path) -> None:
    version = build(store)
    assert load(store, version.id) == version
    assert materialize(store, version.id, tmp_path / "here") == version
    assert len(list(read(tmp_path / "here" / "rover"))) == 3
    assert describe_folder(tmp_path / "here") == version.files
    assert version.embodiments == {"rover": ROVER}


def test_the_first_digits_mean_the_one_version_that_has_them(store: MemoryStore) -> None:
    """Sixteen first digits for eighteen versions: some digit is shared."""
    made = [build(store, reason=f"number {number}").id for number in range(18)]
    shared = [digit for digit in "0123456789abcdef" if sum(name.startswith(digit) for name in made) > 1]
    assert [meant(store, name[:12]) for name in made] == made
    for start in (shared[0], "", "xyz", made[0][:12] + "/", made[0] + "0"):
        with pytest.raises(DataError, match="E-DATA-013"):
            meant(store, start)
    absent = "0" * 64
    assert meant(store, absent) == absent  # whole names are for `load` to judge


def test_what_is_skipped_reads_back_and_counts_as_a_change(store: MemoryStore, tmp_path: Path) -> None:
    first = build(store)
    contents = [episode.content_id for episode in first.episodes]
    skipped = {contents[1]: ((0, 1), (2, 4))}
    version = build(store, skipped=skipped)
    assert load(store, version.id) == version
    assert diff(first, version).reweighted == (contents[1],)
    materialize(store, version.id, tmp_path / "here")
    found = {episode.content_id: episode.skipped for episode in read(tmp_path / "here" / "rover")}
    assert found == {**dict.fromkeys(contents, ()), **skipped}


@pytest.mark.parametrize("spans", [[[1, 1]], [[2, 1]], [[0, 2], [1, 3]], [[-1, 2]], [[0, 1.5]], [[0]], [["0", "1"]]])
def test_skipped_ticks_that_are_none_are_refused(store: MemoryStore, spans: object) -> None:
    plain = json.loads(build(store).to_bytes())
    plain["episodes"][0]["skipped"] = spans
    with pytest.raises(DataError, match="E-DATA-013"):
        DatasetVersion.from_json(plain)


def test_the_identifier_covers_everything(store: MemoryStore) -> None:
    version = build(store)
    changes: list[dict[str, object]] = [
        {"parent": "0" * 64},
        {"reason": "other"},
        {"episodes": version.episodes[1:]},
        {"episodes": (replace(version.episodes[0], weight=2.0), *version.episodes[1:])},
        {"episodes": (replace(version.episodes[0], skipped=((0, 1),)), *version.episodes[1:])},
        {"embodiments": {"rover": replace(ROVER, rate_hz=20.0)}},
        {"files": {**version.files, "rover/more": FileEntry(size=0, sha256="0" * 64)}},
    ]
    identifiers = {replace(version, **change).id for change in changes}  # type: ignore[arg-type]  # fields by name
    assert len(identifiers | {version.id}) == len(changes) + 1


@pytest.mark.parametrize("lives", [0, 1, 3, 9, 13])
def test_a_killed_commit_leaves_no_version_and_is_finished_later(store: MemoryStore, lives: int) -> None:
    store.lives = lives
    with suppress(Killed):
        build(store)
    store.lives = None
    assert not [key for key in store.objects if key.endswith("version.json")]
    version = build(store)
    assert load(store, version.id) == version


def test_the_record_comes_last(store: MemoryStore) -> None:
    version = build(store)
    keys = [key for key in store.objects if not key.startswith("catalogue/")]
    assert keys[-1] == f"datasets/{version.id}/version.json"


def test_selection_weights_and_difference(store: MemoryStore) -> None:
    old = build(store)
    first, second, third = (episode.content_id for episode in old.episodes)
    weights = {first: 0.0, second: 3.0, third: 1.0}
    new = build(store, parent=old.id, reason="second", select=lambda manifest: weights[manifest.content_id])
    changed = diff(old, new)
    assert (changed.added, changed.removed, changed.reweighted) == ((), (first,), (second,))
    assert changed.embodiments == ()
    assert diff(new, old).added == (first,)
    assert new.parent == old.id


def test_a_changed_object_is_noticed(store: MemoryStore, tmp_path: Path) -> None:
    version = build(store)
    name = next(iter(version.files))
    key = file_key(version.files[name])
    store.objects[key] = store.objects[key][:-1] + b"x"
    with pytest.raises(StorageError, match="E-STORE-007"):
        materialize(store, version.id, tmp_path / "here")
    record = f"datasets/{version.id}/version.json"
    store.objects[record] = store.objects[record].replace(b"first", b"worst")
    with pytest.raises(StorageError, match="E-STORE-007"):
        load(store, version.id)


def test_materializing_again_repairs_only_what_differs(store: MemoryStore, tmp_path: Path) -> None:
    version = build(store)
    materialize(store, version.id, tmp_path / "here")
    info = tmp_path / "here" / "rover" / "meta" / "info.json"
    data = tmp_path / "here" / "rover" / "data" / "chunk-000" / "file-000.parquet"
    written = data.stat().st_mtime_ns
    info.write_text("{}")
    materialize(store, version.id, tmp_path / "here")
    assert describe_folder(tmp_path / "here") == version.files
    assert data.stat().st_mtime_ns == written


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a//b", ".hidden", "a\\b", "a\x00b", ""])
def test_a_file_name_cannot_leave_the_folder(store: MemoryStore, name: str) -> None:
    version = build(store)
    plain = json.loads(version.to_bytes())
    plain["files"][name] = {"size": 0, "sha256": "0" * 64}
    with pytest.raises(DataError, match="E-DATA-013"):
        DatasetVersion.from_json(plain)


def test_a_folder_that_differs_is_not_committed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    version = DatasetVersion(
        parent="",
        reason="",
        episodes=(EpisodeReference(content_id="0" * 64, embodiment="0" * 64, weight=1.0),),
        embodiments={},
        files=describe_folder(tmp_path),
    )
    (tmp_path / "a.txt").write_text("b")
    store = MemoryStore()
    with pytest.raises(DataError, match="E-DATA-013"):
        commit(store, tmp_path, version)
    assert not store.objects


def test_what_cannot_be_built_is_refused(store: MemoryStore) -> None:
    with pytest.raises(DataError) as caught:
        build(store, select=lambda _manifest: 0.0)
    assert caught.value.code == Code.DATA_VERSION
    with pytest.raises(ContractError):
        build(store, known={})
    with pytest.raises(DataError, match="E-DATA-013"):
        build(store, parent="0" * 64)
    key = next(key for key in store.objects if key.startswith("blobs/"))
    store.objects[key] = store.objects[key][:-1] + b"x"
    with pytest.raises(StorageError, match="E-STORE-007"):
        build(store)


def test_sixteen_committers_at_once_lose_nothing_and_readers_see_whole_versions(tmp_path: Path) -> None:
    check_concurrent_committers(lambda: open_store(str(tmp_path / "store")), tmp_path)
