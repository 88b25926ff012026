"""Ways to compute a policy's answers, and when one is as good as another: the same actions as fp32 without a compiler.

Pure NumPy: a gateway names an engine and reads its parity without torch. What is compared are chunks in physical units,
each channel in shares of its range, from the middle of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment
from volano.errors import Code, PolicyError

Precision = Literal["fp32", "bf16"]
LEAST_COSINE = 0.999
MOST_DIFFERENCE = 0.005
"""In shares of a channel's range: half a per cent."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How a replica computes."""

    precision: Precision = "fp32"
    """Of matrix products; weights and sums stay fp32."""
    compiled: bool = False
    """The expert's blocks as compiled code."""

    @property
    def name(self) -> str:
        """Short, for names and tables; empty for the reference."""
        return "-".join([*(["bf16"] if self.precision == "bf16" else []), *(["compiled"] if self.compiled else [])])


REFERENCE = Engine()
"""Against which every other is held."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How near an engine's actions are to the reference's, for one robot."""

    tag: str
    observations: int
    cosine: float
    """Of all actions as one vector."""
    difference: float
    """The largest of any action, in shares of its channel's range."""


def compared(
    robot: Embodiment, reference: Sequence[NDArray[np.float32]], other: Sequence[NDArray[np.float32]]
) -> Parity:
    """The chunks of two engines, each (horizon, channels), for the same observations."""
    low = np.array([channel.low for channel in robot.action])
    width = np.array([channel.high for channel in robot.action]) - low
    one, two = (((np.array(chunks, np.float64) - low) / width - 0.5).ravel() for chunks in (reference, other))
    lengths = float(np.linalg.norm(one) * np.linalg.norm(two))
    same = bool(np.array_equal(one, two))
    cosine = 1.0 if same else float(one @ two) / lengths if lengths > 0 else 0.0
    difference = float(np.abs(one - two).max())
    return Parity(tag=robot.tag, observations=len(reference), cosine=cosine, difference=difference)


def require_parity(engine: Engine, parities: Sequence[Parity]) -> None:
    """Raise PolicyError(E-POLICY-011) unless an engine may answer in place of the reference, for every robot."""
    for one in parities:
        if not (one.cosine >= LEAST_COSINE and one.difference <= MOST_DIFFERENCE):
            raise PolicyError(
                Code.POLICY_PARITY,
                f"{engine.name} answers {one.tag} otherwise than fp32: cosine {one.cosine:.6f}, "
                f"by up to {one.difference:.2%} of a range, n = {one.observations}",
                f"serve it in fp32; at least {LEAST_COSINE} and at most {MOST_DIFFERENCE:.1%} are asked for",
            )
