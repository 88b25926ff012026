"""How far the statistics of one version lie from those of another, channel by channel. Pure.

Both versions are known whole, so these are differences and no estimates: they have no interval. What they say about
robots or tasks depends on how the episodes were chosen.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from volano.data.bins import BINS
from volano.data.statistics import CameraStatistics, ChannelStatistics, EmbodimentStatistics

Vector = Literal["state", "action"]
_VECTORS: tuple[Vector, ...] = ("state", "action")


@dataclass(frozen=True, kw_only=True)
class ChannelShift:
    """What one channel has over the other version's."""

    vector: Vector
    name: str
    unit: str
    mean: float
    """Difference of the means, in `unit`."""
    deviations: float | None
    """The same in standard deviations of the other version; None where it never moves."""
    distance: float
    """Largest difference between the two distributions' shares below any edge of a bin, 0..1."""
    clipped: float
    """Share of the weight that lies in bins past the other's q01 and q99: a policy normalised there clips it."""


@dataclass(frozen=True, kw_only=True)
class EmbodimentShift:
    """What one embodiment has over the other version's."""

    channels: tuple[ChannelShift, ...]
    cameras: dict[str, tuple[float, float, float]]
    """Difference of the means of red, green and blue, each within -1..1."""


def shift(old: EmbodimentStatistics, new: EmbodimentStatistics) -> EmbodimentShift:
    """What `new` has over `old`; both are of one contract."""
    return EmbodimentShift(
        channels=tuple(
            _channel(vector, before, after)
            for vector in _VECTORS
            for before, after in zip(getattr(old, vector), getattr(new, vector), strict=True)
        ),
        cameras={name: _camera(old.cameras[name], after) for name, after in new.cameras.items()},
    )


def _channel(vector: Vector, old: ChannelStatistics, new: ChannelStatistics) -> ChannelShift:
    before, after = _shares(old), _shares(new)
    first, last = _place(before, 0.01), _place(before, 0.99)
    mean = new.mean - old.mean
    return ChannelShift(
        vector=vector,
        name=new.name,
        unit=new.unit,
        mean=mean,
        deviations=mean / old.std if old.std else None,
        distance=max(abs(one - other) for one, other in zip(accumulate(before), accumulate(after), strict=True)),
        clipped=sum(after[:first]) + sum(after[last + 1 :]),
    )


def _camera(old: CameraStatistics, new: CameraStatistics) -> tuple[float, float, float]:
    red, green, blue = (after - before for before, after in zip(old.mean, new.mean, strict=True))
    return red, green, blue


def _shares(channel: ChannelStatistics) -> list[float]:
    shares = [0.0] * (BINS + 2)
    whole = sum(weight for _, weight in channel.histogram)
    for place, weight in channel.histogram:
        shares[place] = weight / whole
    return shares


def _place(shares: list[float], share: float) -> int:
    return next((place for place, below in enumerate(accumulate(shares)) if below >= share), len(shares) - 1)
