"""What is written reads back: numbers bit for bit, each frame recognised by the number drawn into it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.data.bundles import ROVER, Draft, columns, read_number, write_bundle
from volano.data import lerobot
from volano.data.episode import video_file
from volano.data.lerobot import SourceEpisode, write
from volano.data.lerobot_read import read
from volano.data.lerobot_video import VideoReader
from volano.data.version import describe_folder
from volano.embodiment.contract import Channel
from volano.errors import Code, DataError

_REORDERED = (("bf", "3"), ("b-adapt", "0"))
_OTHER_SETTINGS = (("preset", "slow"), ("refs", "5"), ("g", "7"))


def make_sources(folder: Path, drafts: list[Draft]) -> list[tuple[Draft, SourceEpisode]]:
    made = []
    for number, draft in enumerate(drafts):
        manifest = write_bundle(folder / str(number), draft)
        made.append((draft, SourceEpisode(folder=folder / str(number), manifest=manifest, weight=1.0 + number)))
    return made


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Draft, SourceEpisode]]:
    """Six episodes of different lengths, tasks and encoder settings; every frame has a number of its own."""
    settings = [(), _REORDERED, (), _OTHER_SETTINGS, (), _OTHER_SETTINGS]
    drafts = [
        Draft(
            seed=number,
            attempt=f"attempt-{number}",
            frames=9 + 5 * number,
            first_number=100 * number,
            instruction=f"go to object {number % 3}",
            video_options=options,
        )
        for number, options in enumerate(settings)
    ]
    return make_sources(tmp_path_factory.mktemp("bundles"), drafts)


@pytest.fixture(scope="module")
def dataset(sources: list[tuple[Draft, SourceEpisode]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "rover"
    write(folder, ROVER, [source for _, source in sources])
    return folder


def test_round_trip(sources: list[tuple[Draft, SourceEpisode]], dataset: Path) -> None:
    expected = {source.manifest.content_id: (draft, source) for draft, source in sources}
    episodes = list(read(dataset))
    assert [episode.content_id for episode in episodes] == sorted(expected)
    for episode in episodes:
        draft, source = expected[episode.content_id]
        table = columns(draft)
        assert episode.state.tobytes() == table["state"].tobytes()
        assert episode.action.tobytes() == table["action"].tobytes()
        assert episode.timestamp.tolist() == table["timestamp"]
        assert list(episode.policy) == table["policy"]
        assert list(episode.executed) == table["executed"]
        assert episode.instruction == draft.instruction
        assert episode.segments == source.manifest.segments
        assert episode.outcome == source.manifest.outcome
        assert episode.policies == source.manifest.policies
        assert (episode.robot, episode.weight) == (draft.robot, source.weight)
        numbers = list(range(draft.first_number, draft.first_number + draft.frames))
        assert {camera: [read_number(image) for image in images] for camera, images in episode.images.items()} == {
            "ego": numbers,
            "rear": numbers,
        }


def test_joined_videos_keep_every_pixel(sources: list[tuple[Draft, SourceEpisode]], dataset: Path) -> None:
    """Videos that were joined, not encoded again, decode to exactly the robot's pixels."""
    episodes = {episode.content_id: episode for episode in read(dataset)}
    for draft, source in sources:
        if draft.video_options == _REORDERED:
            continue
        reader = VideoReader(source.folder / video_file("ego"), 10)
        original = reader.read(0, draft.frames)
        reader.close()
        assert np.array_equal(original, episodes[source.manifest.content_id].images["ego"])


def test_settings_share_a_file_and_others_do_not(dataset: Path) -> None:
    assert len(list((dataset / "videos" / "observation.images.ego").glob("*/*.mp4"))) == 2
    assert not list(dataset.rglob("*.partial"))


def test_the_same_episodes_give_the_same_bytes(
    sources: list[tuple[Draft, SourceEpisode]], dataset: Path, tmp_path: Path
) -> None:
    write(tmp_path / "again", ROVER, [source for _, source in reversed(sources)])
    assert describe_folder(tmp_path / "again") == describe_folder(dataset)


def test_files_roll_before_they_grow_too_large(
    sources: list[tuple[Draft, SourceEpisode]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lerobot, "DATA_BYTES_PER_FILE", 2500)
    monkeypatch.setattr(lerobot, "VIDEO_BYTES_PER_FILE", 3000)
    write(tmp_path / "rolled", ROVER, [source for _, source in sources])
    data = sorted((tmp_path / "rolled" / "data").glob("*/*.parquet"))
    assert len(data) > 2
    assert len(list((tmp_path / "rolled" / "videos").glob("*ego/*/*.mp4"))) > 2
    drafts = {source.manifest.content_id: draft for draft, source in sources}
    for episode in read(tmp_path / "rolled"):
        draft = drafts[episode.content_id]
        assert [read_number(image) for image in episode.images["ego"]] == list(
            range(draft.first_number, draft.first_number + draft.frames)
        )
        assert episode.action.tobytes() == columns(draft)["action"].tobytes()


def test_a_row_group_per_episode(dataset: Path) -> None:
    file = pq.ParquetFile(dataset / "data" / "chunk-000" / "file-000.parquet")
    lengths = pq.read_table(dataset / "meta" / "episodes")["length"].to_pylist()
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == lengths


def test_statistics_are_of_all_rows(sources: list[tuple[Draft, SourceEpisode]], dataset: Path) -> None:
    stats = json.loads((dataset / "meta" / "stats.json").read_bytes())
    action = np.concatenate([columns(draft)["action"] for draft, _ in sources]).astype(np.float64)
    for name, share in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
        assert stats["action"][name] == np.quantile(action, share, axis=0).tolist()
    np.testing.assert_allclose(stats["action"]["mean"], action.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(stats["action"]["std"], action.std(axis=0), rtol=1e-9)
    lengths = pq.read_table(dataset / "meta" / "episodes")["length"].to_pylist()
    ticks = np.concatenate([np.arange(length) for length in lengths])
    table = pq.read_table(dataset / "data")
    counted = {name: table[name].to_numpy().astype(np.float64) for name in ("episode_index", "index", "task_index")}
    for name, values in {**counted, "frame_index": ticks, "timestamp": ticks / 10}.items():
        shares = [stats[name][share][0] for share in ("q01", "q10", "q50", "q90", "q99")]
        assert shares == np.quantile(values.astype(np.float64), [0.01, 0.1, 0.5, 0.9, 0.99]).tolist()
        assert (stats[name]["min"], stats[name]["max"]) == ([values.min()], [values.max()])
        assert [*stats[name]["mean"], *stats[name]["std"]] == pytest.approx([values.mean(), values.std()], rel=1e-12)
        assert stats[name]["count"] == [len(values)]
    image = stats["observation.images.ego"]
    assert np.shape(image["mean"]) == (3, 1, 1)
    assert 0 <= image["min"][0][0][0] < image["mean"][0][0][0] < image["max"][0][0][0] <= 1
    assert 0.1 < image["std"][0][0][0] < 0.5
    assert set(stats) == set(json.loads((dataset / "meta" / "info.json").read_bytes())["features"])


def test_a_vector_of_one_number_is_a_scalar_column(tmp_path: Path) -> None:
    robot = replace(ROVER, state=(Channel(name="speed", unit="m/s", low=-5.0, high=5.0),))
    [(draft, source)] = make_sources(tmp_path, [Draft(embodiment=robot)])
    write(tmp_path / "out", robot, [source])
    assert str(pq.read_schema(tmp_path / "out/data/chunk-000/file-000.parquet").field(0).type) == "float"
    [episode] = read(tmp_path / "out")
    assert episode.state.shape == (draft.frames, 1)
    assert episode.state.tobytes() == columns(draft)["state"].tobytes()


def test_what_the_format_cannot_hold_is_refused(sources: list[tuple[Draft, SourceEpisode]], tmp_path: Path) -> None:
    some = [source for _, source in sources]
    for embodiment, chosen, code in (
        (ROVER, [], Code.DATA_VERSION),
        (ROVER, [some[0], some[0]], Code.DATA_DUPLICATE),
        (replace(ROVER, tag="other"), some, Code.DATA_CONTRACT),
    ):
        with pytest.raises(DataError) as caught:
            write(tmp_path / "refused", embodiment, chosen)
        assert caught.value.code == code
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("fault", ["index", "tasks", "episode order", "stray file", "early video", "own frames"])
def test_the_reader_notices_what_stock_readers_accept(dataset: Path, tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "spoiled"
    shutil.copytree(dataset, folder)
    data = folder / "data" / "chunk-000" / "file-000.parquet"
    tasks = folder / "meta" / "tasks.parquet"
    episodes = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    if fault == "index":
        table = pq.read_table(data)
        place = table.schema.get_field_index("index")
        shifted = [value + 5 for value in table["index"].to_pylist()]
        pq.write_table(table.set_column(place, "index", [shifted]), data)
    elif fault == "tasks":
        pq.write_table(pq.read_table(tasks).take([2, 1, 0]), tasks)
    elif fault == "episode order":
        table = pq.read_table(data)
        pq.write_table(table.sort_by([("episode_index", "descending"), ("frame_index", "ascending")]), data)
    elif fault == "stray file":
        shutil.copy(data, data.with_name("a.parquet"))
    elif fault == "early video":
        table = pq.read_table(episodes)
        name = "videos/observation.images.ego/from_timestamp"
        early = [value - 0.008 for value in table[name].to_pylist()]
        pq.write_table(table.set_column(table.schema.get_field_index(name), name, [early]), episodes)
    else:
        frames = folder / "volano" / "frames" / "chunk-000" / "file-000.parquet"
        pq.write_table(pq.read_table(frames).slice(1), frames)
    with pytest.raises(DataError, match="E-DATA-013"):
        list(read(folder))
