"""Quantiles are those of all rows, and never degenerate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volano.data.normalize import quantiles
from volano.errors import Code, DataError


def test_quantiles_are_of_the_data_not_of_its_parts() -> None:
    values = np.concatenate([np.zeros(990), np.full(10, 100.0), np.full(1000, 1.0)]).reshape(-1, 1)
    found = quantiles(values)
    assert found.q01[0] == 0
    assert found.q99[0] == 1
    assert np.quantile(values[:1000], 0.99) > 0.9  # a mean over parts would lie far above


def test_a_still_channel_is_widened_by_one() -> None:
    values = np.stack([np.full(50, 3.0), np.linspace(0, 1, 50)], axis=1)
    found = quantiles(values)
    assert (found.q01[0], found.q99[0]) == (2.0, 4.0)
    assert found.q01[1] == pytest.approx(0.01)


@given(arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32)))
def test_quantiles_always_span(values: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    found = quantiles(values)
    assert (np.array(found.q01) < found.q99).all()
    exact = values.astype(np.float64)
    assert (np.array(found.q01) >= exact.min(axis=0) - 1).all()
    assert (np.array(found.q99) <= exact.max(axis=0) + 1).all()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (np.empty((0, 3)), Code.DATA_SCHEMA),
        (np.zeros(3), Code.DATA_SCHEMA),
        (np.array([[np.nan]]), Code.DATA_NOT_FINITE),
    ],
)
def test_statistics_of_nothing_are_refused(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], code: Code
) -> None:
    with pytest.raises(DataError) as caught:
        quantiles(values)
    assert caught.value.code == code
