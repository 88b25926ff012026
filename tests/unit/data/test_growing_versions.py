"""A child shares its parent's files, holds exactly its episodes, and is the same whoever dies while it is written."""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.bundles import ARM, KNOWN, Draft, read_number, upload, write_bundle
from tests.unit.data.memory_store import Killed, MemoryStore
from tests.unit.data.quarantined import check
from volano.data.build import build_version
from volano.data.episode import Manifest
from volano.data.judge import judge
from volano.data.lerobot_read import read
from volano.data.verdict import pending
from volano.data.version import DatasetVersion, file_key, load, materialize, read_file

FRAMES, EPISODES = 4, 9


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, Draft]]:
    """The objects of nine accepted episodes of a rover and one of an arm, and the draft of each attempt."""
    place, store, drafts = tmp_path_factory.mktemp("bundles"), MemoryStore(), dict[str, Draft]()
    for number in range(EPISODES):
        draft = Draft(
            seed=number,
            attempt=f"attempt-{number}",
            frames=FRAMES + number % 3,
            first_number=20 * number,
            instruction=f"go to object {number * 5 % 3}",
            video_options=(("g", "7"), ("refs", "5")) if number % 4 == 3 else (),
        )
        upload(store, place / str(number), write_bundle(place / str(number), draft))
        drafts[draft.attempt] = draft
    arm = Draft(seed=50, robot="arm-01", attempt="arm", frames=6, embodiment=ARM, motion="driven")
    upload(store, place / "arm", write_bundle(place / "arm", arm))
    assert {verdict.verdict for verdict in judge(store, pending(store), KNOWN, check)} == {"accepted"}
    return store.objects, drafts


@pytest.fixture
def store(accepted: tuple[dict[str, bytes], dict[str, Draft]]) -> MemoryStore:
    made = MemoryStore()
    made.objects = dict(accepted[0])
    return made


def attempts(*numbers: int) -> Callable[[Manifest], float]:
    names = {f"attempt-{number}" for number in numbers}
    return lambda manifest: float(manifest.attempt in names)


def build(store: MemoryStore, parent: str, select: Callable[[Manifest], float]) -> DatasetVersion:
    return build_version(store, parent=parent, reason="grown", select=select, known=KNOWN)


def chain(store: MemoryStore, *steps: Iterable[int]) -> list[DatasetVersion]:
    found: list[DatasetVersion] = []
    for numbers in steps:
        found.append(build(store, found[-1].id if found else "", attempts(*numbers)))
    return found


def holds(store: MemoryStore, version: DatasetVersion, folder: Path, drafts: dict[str, Draft], *numbers: int) -> None:
    """Every frame of each episode is where its table says, and nothing else is there."""
    materialize(store, version.id, folder)
    episodes = {episode.content_id: episode for episode in read(folder / "rover")}
    assert list(episodes.keys() - {one.content_id for one in version.episodes}) == []
    first = {int(read_number(one.images["ego"][0])): one for one in episodes.values()}
    assert sorted(first) == [20 * number for number in sorted(numbers)]
    for number in numbers:
        draft, episode = drafts[f"attempt-{number}"], first[20 * number]
        expected = list(range(20 * number, 20 * number + draft.frames))
        assert {name: [read_number(image) for image in images] for name, images in episode.images.items()} == {
            "ego": expected,
            "rear": expected,
        }
        assert episode.instruction == draft.instruction


def videos(version: DatasetVersion) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in version.files.items() if name.endswith(".mp4")}


def test_a_child_keeps_its_parents_files_and_adds_its_own(
    store: MemoryStore, accepted: tuple[dict[str, bytes], dict[str, Draft]], tmp_path: Path
) -> None:
    first = build(store, "", attempts(0, 1, 2, 3))
    before = set(store.objects)
    child = build(store, first.id, attempts(0, 1, 2, 3, 4))
    assert videos(first).items() <= videos(child).items()
    new = {key for key in store.objects.keys() - before if not key.startswith(("catalogue/", "sketches/"))}
    tables = ("info.json", "stats.json", "tasks.parquet", "volano/episodes.parquet", "volano/statistics.json")
    assert {name for name, entry in first.files.items() if child.files.get(name) != entry} <= {
        name for name in first.files if name.endswith(tables)
    }
    assert new == {file_key(entry) for entry in child.files.values() if file_key(entry) not in before} | {
        f"datasets/{child.id}/version.json"
    }
    holds(store, child, tmp_path / "child", accepted[1], 0, 1, 2, 3, 4)
    holds(store, first, tmp_path / "first", accepted[1], 0, 1, 2, 3)


def test_only_what_is_new_is_fetched(store: MemoryStore) -> None:
    first = build(store, "", attempts(0, 1, 2, 3))
    fetched: list[str] = []
    get = store.get
    store.get = lambda key: (fetched.append(key), get(key))[1]  # type: ignore[method-assign, func-returns-value]
    build(store, first.id, attempts(0, 1, 2, 3, 4))
    assert len({key for key in fetched if key.startswith("blobs/")}) == 3
    assert len({key for key in fetched if key.startswith("sketches/")}) == 1, "what is kept was added up before"


def test_it_says_what_a_version_from_scratch_says(store: MemoryStore, tmp_path: Path) -> None:
    """In another order of episodes and tasks, which a history leaves."""
    *_, grown = chain(store, [5, 6], [5, 6, 0], [5, 6, 0, 1, 7])
    scratch = build(store, "", attempts(0, 1, 5, 6, 7))
    assert grown.episodes == scratch.episodes
    stated = []
    for version, name in ((grown, "grown"), (scratch, "scratch")):
        materialize(store, version.id, tmp_path / name)
        found = json.loads((tmp_path / name / "rover" / "meta" / "stats.json").read_bytes())
        stated.append({key: value for key, value in found.items() if key not in {"task_index", "episode_index"}})
    for key in stated[1]:
        for figure, value in stated[1][key].items():
            np.testing.assert_allclose(stated[0][key][figure], value, rtol=1e-9, atol=1e-9, err_msg=f"{key} {figure}")


@pytest.mark.parametrize("weights", [[2.0, 2.0, 2.0, 2.0, 0.1], [1 / 3, 2.0, 0.1, 5.0, 1.0]])
def test_statistics_by_weight_are_those_from_scratch(store: MemoryStore, weights: list[float]) -> None:
    """Where a part's episodes have one weight, and where they have several."""
    by_attempt = {f"attempt-{number}": weight for number, weight in enumerate(weights)}
    first = build(store, "", attempts(0, 1, 2, 3))
    grown, scratch = (build(store, parent, lambda one: by_attempt.get(one.attempt, 0.0)) for parent in (first.id, ""))
    found, expected = (read_file(store, version, "rover/volano/statistics.json") for version in (grown, scratch))
    assert found == expected


def test_a_parent_whose_parts_carry_no_sums_is_written_anew(
    store: MemoryStore, accepted: tuple[dict[str, bytes], dict[str, Draft]], tmp_path: Path
) -> None:
    """As versions were before parts had them."""
    first = build(store, "", attempts(0, 1))
    before = replace(first, files={name: one for name, one in first.files.items() if "/volano/totals/" not in name})
    assert before.files.keys() < first.files.keys()
    store.objects[f"datasets/{before.id}/version.json"] = before.to_bytes()
    child = build(store, before.id, attempts(0, 1, 2))
    holds(store, child, tmp_path / "child", accepted[1], 0, 1, 2)
    assert any("/volano/totals/" in name for name in child.files)
    holds(store, build(store, child.id, attempts(0, 1, 2, 3)), tmp_path / "grandchild", accepted[1], 0, 1, 2, 3)


def test_a_changed_weight_writes_no_frame_again(store: MemoryStore, tmp_path: Path) -> None:
    first = build(store, "", attempts(0, 1, 2))
    child = build(store, first.id, lambda one: 3.0 * attempts(0, 1, 2)(one))
    changed = {name for name, entry in child.files.items() if first.files.get(name) != entry}
    assert changed == {"rover/volano/episodes.parquet", "rover/volano/statistics.json"}
    materialize(store, child.id, tmp_path / "child")
    assert [episode.weight for episode in read(tmp_path / "child" / "rover")] == [3.0] * 3


def test_what_was_removed_is_in_no_file_and_other_parts_keep_their_videos(
    store: MemoryStore, accepted: tuple[dict[str, bytes], dict[str, Draft]], tmp_path: Path
) -> None:
    *_, parent = chain(store, [0, 1], [0, 1, 2, 4], [0, 1, 2, 4, 5, 6])
    child = build(store, parent.id, attempts(0, 1, 2, 5, 6))
    holds(store, child, tmp_path / "child", accepted[1], 0, 1, 2, 5, 6)
    gone = set(videos(parent).values()) - set(videos(child).values())
    assert len(gone) == 2, "one file of either camera held the episode"
    assert not gone & {entry.sha256 for entry in child.files.values()}
    emptied = build(store, parent.id, attempts(5, 6))
    holds(store, emptied, tmp_path / "emptied", accepted[1], 5, 6)
    assert set(videos(emptied).values()) <= set(videos(parent).values())


def test_many_appends_read_back(
    store: MemoryStore, accepted: tuple[dict[str, bytes], dict[str, Draft]], tmp_path: Path
) -> None:
    order = [3, 0, 8, 1, 7, 2, 6, 4, 5]
    *_, newest = chain(store, *([*order[:count]] for count in range(1, EPISODES + 1)))
    holds(store, newest, tmp_path / "newest", accepted[1], *range(EPISODES))
    assert sum("meta/episodes" in name for name in newest.files) == 2, "eight were joined"
    assert chain(store, *([*order[:count]] for count in range(1, EPISODES + 1)))[-1].id == newest.id


def test_a_robot_without_news_keeps_all_its_frames(store: MemoryStore, tmp_path: Path) -> None:
    first = build(store, "", lambda one: float(one.attempt in {"arm", "attempt-0"}))
    child = build(store, first.id, lambda one: float(one.attempt in {"arm", "attempt-0", "attempt-1"}))
    assert {
        name: entry for name, entry in first.files.items() if name.startswith("arm/")
    }.items() <= child.files.items()
    without = build(store, first.id, attempts(0, 1))
    assert not [name for name in without.files if name.startswith("arm/")]
    again = build(store, without.id, lambda one: float(one.attempt in {"arm", "attempt-0", "attempt-1"}))
    materialize(store, again.id, tmp_path)
    assert len(list(read(tmp_path / "arm"))) == 1


def test_a_killed_child_is_finished_later_and_is_the_same(store: MemoryStore) -> None:
    first = build(store, "", attempts(0, 1))
    begun, lives, finished = dict(store.objects), 0, False
    calm = build(store, first.id, attempts(0, 1, 2))
    expected = dict(store.objects)
    while not finished:
        store.objects = dict(begun)
        store.lives = lives
        with suppress(Killed):
            build(store, first.id, attempts(0, 1, 2))
            finished = True
        store.lives = None
        assert not finished or f"datasets/{calm.id}/version.json" in store.objects
        assert build(store, first.id, attempts(0, 1, 2)).id == calm.id
        assert store.objects == expected
        lives += 2
    assert load(store, calm.id) == calm
    assert lives > 5
