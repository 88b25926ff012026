"""The queue of an evaluation on real Ray actors that die, refuse to start, or find no core."""

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray

from jobs.crew import Shard, play_all
from tests.unit.evaluate.evaluations import results
from volano.cluster import ROOT
from volano.errors import Code, EvaluationError, PolicyError
from volano.evaluate.suite import SeedPool, TrialResult

SHARDS = [
    Shard(actor="hold", embodiment=tag, pool=SeedPool.GATE, numbers=(at, at + 1))
    for tag in ("car", "scout")
    for at in range(0, 8, 2)
]


class Mortal:
    """A worker that plays nothing, and dies in the trials it is told to, `lives` times in all."""

    def __init__(self, folder: str, deadly: set[int], lives: int, *, refuses: bool = False) -> None:
        self._folder, self._deadly, self._lives, self._refuses = Path(folder), deadly, lives, refuses

    def open(self) -> None:
        if self._refuses:
            raise PolicyError(Code.POLICY_FORMAT, "not a policy", "export it again")

    def play(self, shard: Shard) -> list[TrialResult]:
        if self._deadly & set(shard.numbers):
            deaths = len(list(self._folder.iterdir()))
            if deaths < self._lives:
                (self._folder / str(deaths)).touch()
                os._exit(9)
        return [results(shard.embodiment, [True] * 8)[number] for number in shard.numbers]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    path = f"{ROOT / 'platform'}{os.pathsep}{ROOT}"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    yield
    ray.shutdown()


def played(folder: Path, *, workers: int = 2, **settings: Any) -> Counter[TrialResult]:
    """How often each episode was handed over."""
    found: Counter[TrialResult] = Counter()
    start = partial(ray.remote(num_cpus=1)(Mortal).remote, str(folder), **settings)
    play_all(SHARDS, workers, start, lambda _, finished: found.update(finished), lambda: None)
    return found


@pytest.mark.slow
def test_every_shard_is_played_once_whoever_dies_and_however_few_cores_are_free(tmp_path: Path) -> None:
    everything = Counter(results("car", [True] * 8) + results("scout", [True] * 8))
    assert played(tmp_path, deadly={2}, lives=2, workers=4) == everything
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_a_shard_that_always_kills_and_a_policy_that_does_not_open_end_the_job(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError) as caught:
        played(tmp_path, deadly={2}, lives=99)
    assert caught.value.code == Code.EVALUATION_WORKERS
    with pytest.raises(PolicyError, match="not a policy"):
        played(tmp_path, deadly=set(), lives=0, refuses=True)
