"""A codec made from what a dataset states is the one that its episodes give; streamed frames are the episodes'."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.data.bundles import KNOWN, ROVER, Draft, read_number, upload, write_bundle
from tests.unit.data.quarantined import check
from tests.unit.model.tiny import tiny_model
from volano.data.build import build_version
from volano.data.footage import Footage
from volano.data.frames import FrameReader
from volano.data.judge import judge
from volano.data.lerobot import SourceEpisode, write
from volano.data.lerobot_read import read
from volano.data.verdict import pending
from volano.data.version import is_table, materialize
from volano.embodiment.shipped import CAR
from volano.errors import DataError
from volano.storage.folder import FolderStore
from volano.storage.ranges import open_ranges
from volano.train.dataset import demonstration, demonstrations, fit_codecs, stated_codecs, streamed
from volano.train.film import StreamedFilm

ROBOTS = {"car": CAR, "rover": ROVER}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of each robot, three episodes in each; weights are not asked."""
    made = tmp_path_factory.mktemp("version")
    for tag, robot in ROBOTS.items():
        sources = []
        for seed in range(3):
            bundle = made / "bundles" / tag / str(seed)
            manifest = write_bundle(bundle, Draft(seed=seed, embodiment=robot, frames=5 + 7 * seed))
            sources.append(SourceEpisode(folder=bundle, manifest=manifest, weight=1.0 + seed))
        write(made / tag, robot, sources)
    return made


@pytest.mark.parametrize("path_frame", ["step", "anchored"])
def test_stated_codecs_are_the_fitted_ones(folder: Path, path_frame: str) -> None:
    model = tiny_model(path_frame=path_frame)
    episodes = {tag: [demonstration(one, robot) for one in read(folder / tag)] for tag, robot in ROBOTS.items()}
    found = stated_codecs(folder, ROBOTS, model)
    assert found == fit_codecs(episodes, ROBOTS, model)
    assert (found["car"].action.q99[0] > 2) == (path_frame == "anchored")  # eight steps of a path add up


def test_a_dataset_that_states_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rover" / "meta").mkdir(parents=True)
    stats = tmp_path / "rover" / "meta" / "stats.json"
    for text in ("", "[]", '{"observation.state": {"q01": ["x"], "q99": [1]}}'):
        stats.write_text(text)
        with pytest.raises(DataError, match="E-DATA-013"):
            stated_codecs(tmp_path, {"rover": ROVER}, tiny_model())


def test_a_version_of_two_parts_is_streamed_frame_for_frame(tmp_path: Path) -> None:
    """From the store alone, in which neither part's files stand under the version."""
    (tmp_path / "store").mkdir()
    store, parent, first = FolderStore(tmp_path / "store"), "", dict[str, int]()
    for number in range(4):
        draft = Draft(seed=number, attempt=f"attempt-{number}", frames=20 + number, first_number=100 * number)
        manifest = write_bundle(tmp_path / "bundles" / str(number), draft)
        upload(store, tmp_path / "bundles" / str(number), manifest)
        first[manifest.content_id] = 100 * number
        if number % 2:
            judge(store, pending(store), KNOWN, check)
            parent = build_version(store, parent=parent, reason="more", select=lambda _: 1.0, known=KNOWN).id
    version = materialize(store, parent, tmp_path / "tables", is_table)
    materialize(store, parent, tmp_path / "whole")
    footage, shown = Footage.read(tmp_path / "tables", version.embodiments), dict[int, NDArray[np.uint8]]()
    assert len(footage.paths) == 4, "two files of either camera"
    [found] = streamed(tmp_path / "tables", version, footage, shown).values()
    [held] = demonstrations(tmp_path / "whole", version).values()
    assert sorted(one.episode for one in found) == sorted(first)
    reader = FrameReader(footage, open_ranges(store.url), footage.keys(version).__getitem__)
    for one, other in zip(found, held, strict=True):
        for film, images in zip(one.images, other.images, strict=True):
            assert isinstance(film, StreamedFilm)
            frames = np.array(film.frames)
            [row] = reader.read([[frames]])
            pictures = footage.images(frames, row)
            assert np.array_equal(np.stack(pictures), np.stack([images[tick] for tick in range(len(one.action))]))
            assert [read_number(image) - first[one.episode] for image in pictures] == list(range(len(one.action)))
        assert np.array_equal(one.action, other.action)
