"""A codec made from what a dataset states is the one that its episodes give."""

from pathlib import Path

import pytest

from tests.unit.data.bundles import ROVER, Draft, write_bundle
from tests.unit.model.tiny import tiny_model
from volano.data.lerobot import SourceEpisode, write
from volano.data.lerobot_read import read
from volano.embodiment.shipped import CAR
from volano.errors import DataError
from volano.train.dataset import demonstration, fit_codecs, stated_codecs

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
