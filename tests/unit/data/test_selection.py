"""Quantiles of rows that passed by are NumPy's over all rows, bit for bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.unit.data.sketches import Rows
from volano.data.bins import Bins
from volano.data.selection import Selection
from volano.embodiment.shipped import CAR

SHARES = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0)
BINS = Bins.of(CAR.state)
shapes = st.tuples(st.integers(1, 40), st.just(4))
near = arrays(np.float32, shapes, elements=st.floats(-1, 1, width=32))
coarse = arrays(np.float32, shapes, elements=st.integers(-40, 40).map(float))


@settings(max_examples=50)
@given(st.lists(near | coarse, min_size=1, max_size=4))
def test_quantiles_are_numpys(parts: list[Rows]) -> None:
    every = np.concatenate(parts)
    selection = Selection(BINS.count(every), BINS, SHARES)
    for part in parts:
        selection.add(part)
    assert np.array_equal(selection.quantiles(), np.quantile(every.astype(np.float64), SHARES, axis=0))
