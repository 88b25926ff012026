"""Stretches of ticks and masks say the same."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from volano.data.spans import mask_of, parse_spans, spans_of


@given(st.lists(st.booleans(), max_size=40))
def test_a_mask_and_its_stretches_are_one(values: list[bool]) -> None:
    mask = np.array(values, bool)
    spans = spans_of(mask)
    assert np.array_equal(mask_of(spans, len(mask)), mask)
    assert parse_spans([list(span) for span in spans]) == spans
