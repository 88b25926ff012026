"""Sums of float32 numbers without any rounding.

Every float32 is a whole number of 2**-172 and its square one of 2**-344; Python's integers hold sums of them exactly.
So the sums of parts add up to the sum of the whole, bit for bit and in any order, and are rounded once, at the end.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

UNIT_BITS = 172
"""A sum is counted in units of 2**-UNIT_BITS, a sum of squares in 2**(-2 * UNIT_BITS)."""
_MANTISSA_BITS = 24
_LARGEST = float(np.finfo(np.float32).max)


def exact_sums(values: NDArray[np.float32]) -> tuple[int, int]:
    """Sum and sum of squares, in units, of finite numbers of shape (N,), N below 2**29."""
    fraction, exponent = np.frexp(values.astype(np.float64))
    whole = fraction * 2.0**_MANTISSA_BITS
    units = exponent + (UNIT_BITS - _MANTISSA_BITS)  # 0 for the smallest subnormal
    square = whole * whole
    upper = np.floor(square / 2.0**_MANTISSA_BITS)  # in halves, so that float64 adds them without rounding
    lower = square - upper * 2.0**_MANTISSA_BITS
    squares = (_add_up(upper, 2 * units) << _MANTISSA_BITS) + _add_up(lower, 2 * units)
    return _add_up(whole, units), squares


def in_units(value: float) -> int:
    """A float32's value in units; raises ValueError for what is none."""
    if not abs(value) <= _LARGEST or float(np.float32(value)) != value:
        raise ValueError(f"{value} is no float32")
    numerator, denominator = value.as_integer_ratio()
    return (numerator << UNIT_BITS) // denominator


def mean_and_deviation(count: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and the population's standard deviation of `count` numbers, from their sums in units."""
    mean = Fraction(total, count << UNIT_BITS)
    variance = Fraction(squares * count - total * total, (count * count) << (2 * UNIT_BITS))
    return float(mean), math.sqrt(variance)


def _add_up(whole: NDArray[np.float64], units: NDArray[np.int32]) -> int:
    sums = np.bincount(units, weights=whole)
    return sum(int(sums[place]) << int(place) for place in np.flatnonzero(sums))
