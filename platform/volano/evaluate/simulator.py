"""What every simulator offers, and the types that cross its door. Physical units throughout."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volano.embodiment.contract import Embodiment

FloatArray = NDArray[np.float32]
ImageArray = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a robot perceives at one control tick."""

    images: dict[str, ImageArray]
    """Camera name to RGB of shape (height, width, 3)."""
    state: FloatArray
    """Shape (number of state channels,)."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one control tick brought."""

    action: FloatArray
    """Shape (number of action channels,): the row a dataset records for this tick, in the recorded (not anchored)
    frame. For an expert's noisy tick it is the action the expert wanted, not the one that was executed."""
    success: bool
    """The task's own check holds now."""
    done: bool
    """The episode ended: success, failure (for example a crash), or its time is over."""


class Simulator(Protocol):
    """One robot in one world. Deterministic in (task, seed) and the calls made."""

    embodiment: Embodiment
    tasks: tuple[str, ...]
    instruction: str
    """Language of the current task; valid after `reset`."""

    def reset(self, task: str, seed: int) -> None:
        """Start an episode. Raises KeyError for an unknown task."""
        ...

    def observe(self) -> Observation:
        """What the robot perceives now. Rendering costs more than moving, so whoever is blind does not ask."""
        ...

    def act(self, chunk: FloatArray, index: int) -> Step:
        """Execute row `index` of a predicted chunk of shape (horizon, channels) for one control tick."""
        ...

    def assist(self, noise: float) -> Step:
        """The scripted expert acts for one tick; `noise` (0 = none) perturbs what is executed, not what is recorded."""
        ...

    def close(self) -> None:
        """Free the world."""
        ...
