"""Spans take every step once and end where windows do; decoders ask for no core that trainers need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.decoder import spans
from pipelines.feed import decoder_cpus


@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 70))
def test_spans_take_every_step_once_and_end_at_multiples(start: int, count: int, span: int) -> None:
    steps = range(start, start + count)
    found = spans(steps, span)
    assert [step for part in found for step in part] == list(steps)
    assert all(part.start // span == (part.stop - 1) // span for part in found)


@pytest.mark.parametrize(
    ("cores", "workers", "decoders", "each"),
    [(2, 2, 1, 0.0), (1, 2, 1, 0.0), (3, 2, 1, 0.5), (4, 2, 1, 1.0), (64, 8, 2, 1.0), (10, 8, 2, 0.12), (2, 1, 1, 1.0)],
)
def test_decoders_take_what_trainers_leave(cores: int, workers: int, decoders: int, each: float) -> None:
    assert decoder_cpus(cores, workers, decoders) == each
    assert workers * decoders * each <= max(0, cores - workers)
