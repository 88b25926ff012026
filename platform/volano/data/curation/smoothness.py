"""Spectral arc length: how much a movement's speed consists of more than one smooth swing. Pure.

After Balasubramanian, Melendez-Calderon, Roby-Brami and Burdet, "On the analysis of movement smoothness", Journal of
NeuroEngineering and Rehabilitation 12:112 (2015). It depends neither on how large nor on how long a movement is.
"""

import numpy as np
from numpy.typing import NDArray

_MOST_HZ = 10.0
"""Faster than people and arms move on purpose; for a slow robot, half its rate."""
_NOTHING = 0.05
"""Share of the largest magnitude below which the spectrum counts as over."""
_PADDING = 4
"""Powers of two by which the signal is lengthened, for a spectrum of enough points."""


def spectral_arc_length(speed: NDArray[np.float64], rate_hz: float) -> float:
    """Minus the length of the curve that the magnitude of the spectrum of (T,) speeds draws, both axes scaled to 1, up
    to the last frequency that matters. 0 for what does not move."""
    if len(speed) < 2 or not speed.any():
        return 0.0
    points = 1 << (int(np.ceil(np.log2(len(speed)))) + _PADDING)
    magnitude = np.abs(np.fft.rfft(speed, points))
    frequency = np.fft.rfftfreq(points, 1 / rate_hz)
    magnitude = (magnitude / magnitude.max())[frequency <= min(_MOST_HZ, rate_hz / 2)]
    matters = np.flatnonzero(magnitude >= _NOTHING)
    curve = magnitude[matters[0] : matters[-1] + 1]
    if len(curve) < 2:
        return 0.0
    steps = np.hypot(1 / (len(curve) - 1), np.diff(curve))
    return -float(steps.sum())
