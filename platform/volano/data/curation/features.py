"""What curation knows of an episode: a few numbers of bounded size, made once from its ticks and pictures.

They depend on the episode alone, and not on what is asked of them later, so that they are stored by content and every
curation of every version reads the same ones. A change of what a field means is a new `DEFINITION`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from volano.data.episode import Manifest
from volano.data.sample import usable_ticks
from volano.data.spans import Spans, parse_spans
from volano.embodiment.contract import Embodiment
from volano.errors import Code, DataError
from volano.storage.content import canonical_json

DEFINITION = "1"
OCCUPANCY = 256
SAMPLED_TICKS = 64
SAMPLED_PICTURES = 16
SHARES = (-1.0, 2.0)
"""Within which a channel's share of its range is."""
_ROUGHEST = -1e6
_DIGITS = 6
"""Decimals that are stored."""
_FIELDS = {"definition", "content_id", "occupancy", "state", "action", "pictures", "smoothness", "still"}


@dataclass(frozen=True, kw_only=True)
class Features:
    """One episode of which something may be imitated."""

    content_id: str
    occupancy: NDArray[np.float64]
    """Which states and actions it visits, as a point on the unit sphere, (OCCUPANCY,)."""
    state: NDArray[np.float64]
    """At most SAMPLED_TICKS ticks, evenly spaced, as shares of the contract's range, (n, state channels)."""
    action: NDArray[np.float64]
    """Of the same ticks, (n, action channels)."""
    pictures: NDArray[np.uint64]
    """Hashes of evenly spaced pictures of each camera, (cameras, SAMPLED_PICTURES)."""
    smoothness: float
    """Spectral arc length of the state's speed: 0 or less, and the lower the rougher."""
    still: Spans
    """Ticks [start, end) around which nothing moves, in order."""

    def to_bytes(self) -> bytes:
        """Canonical JSON, rounded: `from_json` of it gives the same bytes again."""
        return canonical_json(
            {
                "definition": DEFINITION,
                "content_id": self.content_id,
                **{name: getattr(self, name).round(_DIGITS).tolist() for name in ("occupancy", "state", "action")},
                "pictures": [[f"{code:016x}" for code in camera] for camera in self.pictures.tolist()],
                "smoothness": round(self.smoothness, _DIGITS),
                "still": self.still,
            }
        )

    @classmethod
    def from_json(cls, data: object, manifest: Manifest, embodiment: Embodiment) -> Self:
        """Build from untrusted plain data; raises DataError(E-DATA-100) for what cannot be this episode's."""
        try:
            return cls(**_parse(data, manifest, embodiment))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(
                Code.DATA_FEATURES,
                f"features of episode {manifest.content_id[:12]} are not sound: {error}",
                "restore the object, or delete it to have it made again",
            ) from error


def imitable(manifest: Manifest) -> NDArray[np.bool_]:
    """Which ticks training may imitate while its version skips none, (T,)."""
    alone = manifest.outcome.success and manifest.outcome.autonomous
    kinds = np.repeat([one.kind for one in manifest.segments], [one.end - one.start for one in manifest.segments])
    mask = np.zeros(manifest.frames, np.bool_)
    mask[usable_ticks([kinds], [alone], [()]).ticks] = True
    return mask


def _parse(data: object, manifest: Manifest, embodiment: Embodiment) -> dict[str, Any]:
    if not isinstance(data, Mapping) or set(data) != _FIELDS:
        raise ValueError("the set of fields is not the schema's")
    if (data["definition"], data["content_id"]) != (DEFINITION, manifest.content_id):
        raise ValueError("they are of another definition or episode")
    state = _numbers(data["state"], (-1, len(embodiment.state)), SHARES)
    action = _numbers(data["action"], (len(state), len(embodiment.action)), SHARES)
    if not 0 < len(state) <= SAMPLED_TICKS:
        raise ValueError(f"{len(state)} ticks were sampled")
    pictures = np.array([[int(code, 16) for code in camera] for camera in data["pictures"]], np.uint64)
    if pictures.shape != (len(embodiment.cameras), SAMPLED_PICTURES):
        raise ValueError(f"pictures have shape {pictures.shape}")
    still = parse_spans(data["still"])
    if still and still[-1][1] > manifest.frames:
        raise ValueError("a still tick lies behind the last")
    return {
        "content_id": manifest.content_id,
        "occupancy": _numbers(data["occupancy"], (OCCUPANCY,), (-1.0, 1.0)),
        "state": state,
        "action": action,
        "pictures": pictures,
        "smoothness": float(_numbers([data["smoothness"]], (1,), (_ROUGHEST, 0.0))[0]),
        "still": still,
    }


def _numbers(data: object, shape: tuple[int, ...], within: tuple[float, float]) -> NDArray[np.float64]:
    """An array of this shape, of which -1 is any; its values within both limits, so that nothing overflows later."""
    values = np.array(data, np.float64)
    sizes = zip(shape, values.shape, strict=False)
    if values.ndim != len(shape) or any(wanted not in (-1, size) for wanted, size in sizes):
        raise ValueError(f"shape {values.shape} is not {shape}")
    if not ((values >= within[0]) & (values <= within[1])).all():
        raise ValueError(f"a value is not within {within}")
    return values
