"""Trials, their seeds and the chunks of the random baseline are functions of what they are named by."""

import numpy as np
import pytest

from volano.embodiment.frames import compose
from volano.embodiment.shipped import CAR, SCOUT
from volano.errors import EvaluationError
from volano.evaluate.suite import SeedPool, Trial, draw_chunks, noise_seed, random_chunk, trial


def trials(tasks: tuple[str, ...], number: int, pool: SeedPool) -> list[Trial]:
    return [trial(SCOUT, tasks, one, pool) for one in range(number)]


def test_tasks_take_turns_and_pools_share_no_seed() -> None:
    planned = trials(("red", "green", "blue"), 10, SeedPool.GATE)
    assert [one.task for one in planned[:4]] == ["red", "green", "blue", "red"]
    assert {one.seed for one in planned}.isdisjoint(one.seed for one in trials(("red",), 10, SeedPool.FINAL))


def test_every_trial_has_noise_of_its_own_that_never_changes() -> None:
    planned = trials(("red", "green"), 100, SeedPool.GATE)
    seeds = [noise_seed(one) for one in planned]
    assert len(set(seeds)) == 100
    assert seeds[0] == noise_seed(trial(SCOUT, ("red", "green"), 0, SeedPool.GATE)) == 1991278064295176
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_chunks_are_whole_pieces_of_the_data_in_the_frame_of_an_answer() -> None:
    rng = np.random.default_rng(0)
    recorded = [rng.uniform(-1, 1, (ticks, 3)).astype(np.float32) for ticks in (12, 5, 9)]
    chunks = draw_chunks(CAR, recorded, 100)
    assert chunks.shape == (5 + 0 + 2, CAR.horizon, 3)
    assert chunks.dtype == np.float32
    expected = {
        compose(rows[start : start + CAR.horizon]).astype(np.float32).tobytes()
        for rows, starts in ((recorded[0], 5), (recorded[2], 2))
        for start in range(starts)
    }
    assert {chunk.tobytes() for chunk in chunks} == expected
    assert np.array_equal(draw_chunks(CAR, recorded, 100), chunks)
    assert len(draw_chunks(CAR, recorded, 3)) == 3


def test_without_a_whole_chunk_there_is_no_baseline() -> None:
    with pytest.raises(EvaluationError, match="scout"):
        draw_chunks(SCOUT, [np.zeros((SCOUT.horizon - 1, 2), np.float32)], 10)


def test_random_chunks_depend_on_their_seed_only() -> None:
    chunks = np.random.default_rng(1).normal(size=(50, 8, 2)).astype(np.float32)

    def answers(seed: int) -> list[bytes]:
        choose = random_chunk(chunks, seed)
        return [choose(None).tobytes() for _ in range(5)]  # type: ignore[arg-type]

    assert answers(3) == answers(3) != answers(4)
