"""An exported folder holds every bit of what may be imitated, whole or not at all, and overwrites nothing."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.data.bundles import columns, read_number
from tests.unit.data.exports.versions import EXPECTED, Made, make
from tests.unit.data.readers.reading import convert_here
from tests.unit.data.readers.sources import document, parsed
from volano.data.episode import video_file
from volano.data.exports.export import export, plan
from volano.data.exports.peers import PEERS
from volano.data.readers.lerobot_v2 import read
from volano.data.recall import Recall, recall_key
from volano.data.version import describe_folder
from volano.data.video import decode
from volano.errors import Code, ConfigError, DataError, StorageError
from volano.storage.folder import FolderStore

CAMERAS = ("ego", "rear")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Rovers' attempts that ended in every way, and two of an arm."""
    return make(tmp_path_factory.mktemp("made"), arms=2)


@pytest.fixture(scope="module")
def folder(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version, exported for GR00T."""
    output = tmp_path_factory.mktemp("exported") / "out"
    export(made.store, made.version.id, "gr00t", output)
    return output


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def origins(made: Made, robot: Path) -> Iterator[tuple[int, Any, Path, int, int]]:
    """Of each exported episode its number, draft, bundle and ticks there."""
    for line in lines(robot / "volano" / "episodes.jsonl"):
        _, draft, bundle = made.endings[line["content_id"]]
        yield line["episode_index"], draft, bundle, line["start"], line["end"]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def table_of(robot: Path, number: int) -> Any:
    return pq.read_table(robot / f"data/chunk-000/episode_{number:06d}.parquet")


def video_of(robot: Path, number: int, camera: str) -> Path:
    return robot / f"videos/chunk-000/observation.images.{camera}/episode_{number:06d}.mp4"


def test_every_tick_that_may_be_imitated_is_there_once_bit_for_bit(made: Made, folder: Path) -> None:
    left: dict[str, list[tuple[int, int]]] = {content: [] for content in made.endings}
    for line in lines(folder / "rover" / "volano" / "episodes.jsonl"):
        left[line["content_id"]].append((line["start"], line["end"]))
    for content, (ending, draft, _) in made.endings.items():
        if draft.embodiment.tag == "rover":
            assert tuple(left[content]) == EXPECTED[ending]
    position = 0
    for number, draft, _, start, end in origins(made, folder / "rover"):
        truth, table = columns(draft), table_of(folder / "rover", number)
        for name, column in (("state", "observation.state"), ("action", "action")):
            written = np.stack(table[column].to_numpy()).astype(np.float32)
            assert written.tobytes() == truth[name][start:end].tobytes()
        assert table["index"].to_pylist() == list(range(position, position + end - start))
        assert table["frame_index"].to_pylist() == list(range(end - start))
        position += end - start


def test_no_column_can_say_that_a_tick_was_bad(folder: Path) -> None:
    described = json.loads((folder / "rover" / "meta" / "info.json").read_text())
    numbers = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
    instruction = "annotation.human.action.task_description"
    cameras = {f"observation.images.{name}" for name in CAMERAS}
    assert set(described["features"]) == {"observation.state", "action", instruction, *numbers, *cameras}
    assert set(table_of(folder / "rover", 0).column_names) == set(described["features"]) - cameras


def test_videos_of_whole_attempts_keep_every_packet_and_the_others_every_frame(made: Made, folder: Path) -> None:
    kept = 0
    for number, draft, bundle, start, end in origins(made, folder / "rover"):
        for camera in CAMERAS:
            video = video_of(folder / "rover", number, camera)
            assert [read_number(image) for image in decode(video)] == [
                draft.first_number + tick for tick in range(start, end)
            ]
            if start % 15 == 0:  # where the encoder put its keyframes
                assert packets(video) == packets(bundle / video_file(camera))[start:end]
                kept += 1
    assert kept == 3 * len(CAMERAS)


def test_a_keyframe_that_needs_others_is_not_cut_at(tmp_path: Path) -> None:
    made = make(tmp_path, ("helped",), video_options=(("intra-refresh", "1"),))
    [done] = export(made.store, made.version.id, "openpi", tmp_path / "out")
    assert (done.copied, done.encoded) == (0, 2)
    _, draft, _ = next(iter(made.endings.values()))
    shown = [read_number(image) for image in decode(video_of(tmp_path / "out" / "rover", 0, "ego"))]
    assert shown == [draft.first_number + tick for tick in range(15, 22)]


def test_our_own_reader_of_the_format_finds_no_fault(made: Made, folder: Path) -> None:
    found = read(folder / "arm", parsed(document()))
    for number, draft, _, _, _ in origins(made, folder / "arm"):
        opened = found[number].open()
        rows = opened.load({"action", "observation.state"})
        assert (opened.texts["task"], opened.frames, opened.rate_hz) == (draft.instruction, 40, 20.0)
        assert rows.numbers["action"].tobytes() == columns(draft)["action"].tobytes()
        assert np.allclose(rows.timestamp, np.arange(40) / 20)
    assert len(found) == 2


def test_what_was_exported_comes_back_as_bundles(made: Made, folder: Path, tmp_path: Path) -> None:
    channel = {"observation.state": ("speed", "yaw_rate"), "action": ("speed", "yaw_rate")}
    units = {"speed": "m/s", "yaw_rate": "rad/s"}
    mapping = {
        "schema": "volano.mapping.1",
        "dataset": "back",
        "task": "go-to",
        "instruction": {"field": "task"},
        "outcome": {"success": True, "source": "operator"},
        "started_at": 1717200000,
        "cameras": {name: {"field": f"observation.images.{name}"} for name in CAMERAS},
        **{
            part: {name: {"field": field, "column": name, "unit": units[name]} for name in channel[field]}
            for part, field in (("state", "observation.state"), ("action", "action"))
        },
    }
    back = convert_here(folder / "rover", mapping, tmp_path / "out")
    for (bundle, planned), (number, _, _, _, _) in zip(back, origins(made, folder / "rover"), strict=True):
        again = pq.read_table(bundle / "steps.parquet", columns=["state", "action"])
        source = table_of(folder / "rover", number)
        assert again["action"].to_pylist() == source["action"].to_pylist()
        assert {camera.treatment for camera in planned.cameras.values()} == {"copy"}
        for camera in CAMERAS:
            assert (bundle / video_file(camera)).read_bytes() == video_of(folder / "rover", number, camera).read_bytes()


def test_the_plan_is_what_happens(made: Made, folder: Path) -> None:
    before = {info.key for info in made.store.list("")}
    arm, rover = plan(made.store, made.version.id, "gr00t")
    assert {info.key for info in made.store.list("")} == before
    assert (rover.attempts, rover.whole, rover.trimmed, rover.left_out) == (6, 2, 3, 1)
    assert (arm.attempts, arm.whole, arm.trimmed, arm.left_out) == (2, 2, 0, 0)
    listed = lines(folder / "rover" / "meta" / "episodes.jsonl")
    assert (rover.episodes, rover.ticks) == (len(listed), sum(line["length"] for line in listed))
    assert (rover.short, rover.videos) == (2, len(list((folder / "rover").rglob("*.mp4"))))


def test_the_same_version_gives_the_same_bytes(made: Made, folder: Path, tmp_path: Path) -> None:
    export(made.store, made.version.id, "gr00t", tmp_path / "deep" / "again")
    assert describe_folder(tmp_path / "deep" / "again") == describe_folder(folder)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["again"]


@pytest.mark.parametrize("what", ["folder", "full folder", "file", "link to nothing"])
def test_nothing_is_overwritten(made: Made, tmp_path: Path, what: str) -> None:
    output = tmp_path / "out"
    if what == "file":
        output.write_text("mine")
    elif what == "link to nothing":
        output.symlink_to(tmp_path / "nowhere")
    else:
        output.mkdir()
        if what == "full folder":
            (output / "mine").write_text("mine")
    before = describe_folder(tmp_path)
    with pytest.raises(DataError, match="E-DATA-083"):
        export(made.store, made.version.id, "openpi", output)
    assert describe_folder(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class Interfering(FolderStore):
    """A store during whose downloads something happens."""

    def __init__(self, root: Path, happens: Callable[[], None]) -> None:
        super().__init__(root)
        self._happens = happens

    def get_file(self, key: str, path: Path) -> None:
        super().get_file(key, path)
        self._happens()


def test_a_folder_that_appears_meanwhile_stays(made: Made, tmp_path: Path) -> None:
    def appear() -> None:
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "mine").write_text("mine")

    with pytest.raises(DataError, match="E-DATA-083"):
        export(Interfering(made.store.root, appear), made.version.id, "openpi", tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StorageError(Code.STORE_FULL, "full", "free some")])
def test_what_is_broken_off_leaves_nothing(made: Made, tmp_path: Path, error: BaseException) -> None:
    def break_off() -> None:
        raise error

    with pytest.raises(type(error)):
        export(Interfering(made.store.root, break_off), made.version.id, "openpi", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_may_not_leave_is_refused(tmp_path: Path) -> None:
    made = make(tmp_path, ("failed",))
    for target, error in (("openpi", DataError), ("lerobot", ConfigError), ("", ConfigError)):
        with pytest.raises(error):
            export(made.store, made.version.id, target, tmp_path / "out")
        with pytest.raises(error):
            plan(made.store, made.version.id, target)
    assert not (tmp_path / "out").exists()


def test_what_was_recalled_never_leaves(tmp_path: Path) -> None:
    made = make(tmp_path, ("alone", "demonstrated"))
    recall = Recall(contents=(next(iter(made.endings)),), reason="broken gripper", by="ada", at=1.0)
    made.store.put_new(recall_key(recall.id), recall.to_bytes())
    with pytest.raises(DataError, match="E-DATA-071"):
        plan(made.store, made.version.id, "gr00t")
    with pytest.raises(DataError, match="E-DATA-071"):
        export(made.store, made.version.id, "gr00t", tmp_path / "out")


def test_what_is_recalled_meanwhile_never_leaves(tmp_path: Path) -> None:
    made = make(tmp_path, ("alone", "demonstrated"))
    recall = Recall(contents=(next(iter(made.endings)),), reason="broken gripper", by="ada", at=1.0)

    def take_back() -> None:
        made.store.put_new(recall_key(recall.id), recall.to_bytes())

    with pytest.raises(DataError, match="E-DATA-071"):
        export(Interfering(made.store.root, take_back), made.version.id, "gr00t", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", list(PEERS))
def test_each_target_gets_its_own_files(made: Made, tmp_path: Path, target: str) -> None:
    export(made.store, made.version.id, target, tmp_path / "out")
    own = {
        "openpi": {"norm_stats.json"},
        "starvla": {"meta/modality.json", "meta/stats_gr00t.json"},
        "gr00t": {"meta/modality.json", "meta/stats.json"},
    }
    found = set(describe_folder(tmp_path / "out" / "arm"))
    assert found & {name for names in own.values() for name in names} == own[target]
    source = json.loads((tmp_path / "out" / "arm" / "volano" / "source.json").read_text())
    assert source == {"schema": "volano.export.1", "version": made.version.id, "for": target}
