"""Under every ZeRO stage gradients reach the parts that a stage says, and a loss that is not finite ends every worker
with its reason."""

import json
from pathlib import Path

import pytest

from tests.integration import train_parts, workers
from tests.integration.train_parts import BROKEN, FREEZINGS, changed
from volano.train.config import EngineConfig
from volano.train.parts import part_of
from volano.train.stage import Worker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What each of two workers says of all that they trained."""
    output = tmp_path_factory.mktemp("parts")
    codes = workers.run(train_parts.main, output, workers=2, said=output / "said", timeout_s=400)
    assert not any(codes), (output / "said").read_text()
    return [json.loads((output / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("zero", range(4))
def test_gradients_reach_what_learns_and_nothing_else(zero: int, told: list[dict[str, str]], tmp_path: Path) -> None:
    everything = set(changed(tmp_path, (), EngineConfig(kind="plain"), Worker()))
    for worker in told:
        for frozen in FREEZINGS:
            learned = {name for name in everything if part_of(name) not in frozen}
            assert set(json.loads(worker[f"{zero} {'-'.join(frozen)}"])) == learned, frozen


@pytest.mark.parametrize("zero", range(4))
def test_every_worker_ends_with_the_episode_that_broke_one(zero: int, told: list[dict[str, str]]) -> None:
    first, second = (worker[f"reason {zero}"] for worker in told)
    assert first == second
    assert "E-TRAIN-002" in first
    assert f"scout episode {BROKEN} tick " in first
    assert "sawyer" not in first
