"""Sums are those of the numbers themselves: compared with fractions, over the whole range of a float32."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volano.data.exact_sums import UNIT_BITS, exact_sums, in_units, mean_and_deviation

Column = np.ndarray[tuple[int], np.dtype[np.float32]]
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays(np.float32, st.integers(1, 40), elements=numbers))
def test_sums_are_exact(values: Column) -> None:
    exact = [Fraction(float(value)) for value in values]
    total, squares = exact_sums(values)
    assert Fraction(total, 1 << UNIT_BITS) == sum(exact)
    assert Fraction(squares, 1 << 2 * UNIT_BITS) == sum(value * value for value in exact)


@given(numbers)
def test_a_number_in_units_is_the_sum_of_itself(value: float) -> None:
    assert in_units(value) == exact_sums(np.array([value], np.float32))[0]


@pytest.mark.parametrize("value", [0.1, float("inf"), float("nan"), 1e300, 1e-300])
def test_what_no_float32_holds_has_no_units(value: float) -> None:
    with pytest.raises(ValueError, match="no float32"):
        in_units(value)


def test_nothing_cancels() -> None:
    values = np.array([3e38, 1e-20, -3e38], np.float32)
    total, squares = exact_sums(values)
    assert mean_and_deviation(3, total, squares)[0] == float(values[1]) / 3
    far = (1e6 + np.arange(4) / 16).astype(np.float32)
    assert mean_and_deviation(4, *exact_sums(far))[1] == np.arange(4).std() / 16
