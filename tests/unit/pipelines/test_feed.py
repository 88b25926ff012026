"""Spans take every step once and end where windows do; decoders ask for no core that trainers need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.decoder import TOGETHER, spans, together
from pipelines.feed import decoder_cpus, tasks


@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 70))
def test_spans_take_every_step_once_and_end_at_multiples(start: int, count: int, span: int) -> None:
    steps = range(start, start + count)
    found = spans(steps, span)
    assert [step for part in found for step in part] == list(steps)
    assert all(part.start // span == (part.stop - 1) // span for part in found)


@given(st.integers(0, 500), st.integers(1, 900), st.integers(1, 70), st.integers(1, 3))
def test_tasks_say_what_comes_next_to_a_decoder_that_does_it(
    start: int, count: int, window: int, decoders: int
) -> None:
    steps = range(start, start + count)
    found = tasks(steps, window, decoders)
    assert [step for task in found for step in range(task["first"], task["stop"])] == list(steps)
    for task, after in zip(found, [*found[1:], None], strict=True):
        if decoders > 1 or after is None:
            assert task["after"] == task["stop"]
        else:
            first = spans(range(after["first"], after["stop"]), window)[0]
            assert range(task["stop"], task["after"]) == first, "it is not the next task's first window"


@given(st.integers(0, 500), st.lists(st.integers(0, 80 << 20), min_size=1, max_size=70))
def test_what_is_handed_over_together_is_every_step_once_and_not_too_much(start: int, sizes: list[int]) -> None:
    part = range(start, start + len(sizes))
    found = together(part, lambda step: sizes[step - start])
    assert [step for group in found for step in group] == list(part)
    for group in found:
        assert 1 <= len(group) <= TOGETHER
        assert len(group) == 1 or sum(sizes[step - start] for step in group) <= 64 << 20


@pytest.mark.parametrize(
    ("cores", "workers", "decoders", "each"),
    [(2, 2, 1, 0.0), (1, 2, 1, 0.0), (3, 2, 1, 0.5), (4, 2, 1, 1.0), (64, 8, 2, 1.0), (10, 8, 2, 0.12), (2, 1, 1, 1.0)],
)
def test_decoders_take_what_trainers_leave(cores: int, workers: int, decoders: int, each: float) -> None:
    assert decoder_cpus(cores, workers, decoders) == each
    assert workers * decoders * each <= max(0, cores - workers)
