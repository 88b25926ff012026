"""Units that are brought to one another. The list is short on purpose: what is not in it is refused, never guessed."""

import math

_TO_STANDARD = {
    "rad": ("rad", 1.0),
    "deg": ("rad", math.pi / 180),
    "rad/s": ("rad/s", 1.0),
    "deg/s": ("rad/s", math.pi / 180),
    "m": ("m", 1.0),
    "cm": ("m", 0.01),
    "mm": ("m", 0.001),
    "m/s": ("m/s", 1.0),
    "cm/s": ("m/s", 0.01),
    "mm/s": ("m/s", 0.001),
    "km/h": ("m/s", 1 / 3.6),
    "1": ("1", 1.0),
    "%": ("1", 0.01),
}


def factor(foreign: str, ours: str) -> float | None:
    """What a number in `foreign` is multiplied by to be in `ours`; exactly 1 for the same unit, None when there is no
    way."""
    if foreign == ours:
        return 1.0
    (kind, scale), (other_kind, other_scale) = (_TO_STANDARD.get(unit, ("", 1.0)) for unit in (foreign, ours))
    return scale / other_scale if kind and kind == other_kind else None
