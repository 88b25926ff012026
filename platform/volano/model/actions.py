"""One codec per embodiment: recorded actions to the unified, normalised action tensor, and back.

The same object serves training, evaluation and serving, so normalisation and channel layout are written once
(paper section 2: leading channels active, the rest zero, q01/q99 to [-1, 1] with clipping). The model predicts rows
as they are recorded, so a path is a row of motions from tick to tick: a motion is as precise on the first tick, which
is driven, as on the last. With `path_frame` `anchored` a path is a row of poses instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from volano.data.normalize import Quantiles, quantiles
from volano.embodiment.contract import Embodiment
from volano.embodiment.frames import compose, differences
from volano.errors import Code, ContractError
from volano.model.config import PathFrame

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
STATE_BINS = 256


@dataclass(frozen=True, kw_only=True)
class Target:
    """One training target."""

    values: FloatArray
    """Shape (H, K), normalised; zero where the mask is False."""
    mask: BoolArray
    """Shape (H, K)."""


def chunk_rows(embodiment: Embodiment, recorded: FloatArray, start: int) -> FloatArray:
    """The rows a perfect policy answers at tick `start`, shape (up to horizon, channels), in the contract's frame.

    `recorded` has shape (ticks, channels). Fewer rows than the horizon remain near the episode's end.
    """
    rows = recorded[start : start + embodiment.horizon]
    return compose(rows).astype(np.float32) if embodiment.action_frame == "anchored_se2" else rows


@dataclass(frozen=True, kw_only=True)
class ActionCodec:
    """Physical units on one side, the model's tensor on the other."""

    embodiment: Embodiment
    action: Quantiles
    """Per channel, of the recorded rows."""
    state: Quantiles
    horizon: int
    """H of the model."""
    channels: int
    """K of the model."""
    state_channels: int
    path_frame: PathFrame = "step"

    def __post_init__(self) -> None:
        robot = self.embodiment
        too_big = len(robot.action) > self.channels or robot.horizon > self.horizon
        if too_big or len(robot.state) > self.state_channels:
            raise ContractError(
                Code.CONTRACT_MISMATCH,
                f"{robot.tag}: {robot.horizon} x {len(robot.action)} actions and {len(robot.state)} states do not fit "
                f"a model of {self.horizon} x {self.channels} and {self.state_channels}",
                "raise model.horizon, model.channels or model.state_channels",
            )

    @classmethod
    def fit(
        cls,
        embodiment: Embodiment,
        episodes: Iterable[tuple[FloatArray, FloatArray]],
        *,
        horizon: int,
        channels: int,
        state_channels: int,
        path_frame: PathFrame = "step",
    ) -> Self:
        """Statistics over every tick of every episode, given as (recorded actions, states); of a path's poses, over
        every chunk."""
        pairs = list(episodes)
        rows = [_network_rows(embodiment, actions, path_frame) for actions, _ in pairs]
        return cls(
            embodiment=embodiment,
            action=quantiles(np.concatenate(rows)),
            state=quantiles(np.concatenate([states for _, states in pairs])),
            horizon=horizon,
            channels=channels,
            state_channels=state_channels,
            path_frame=path_frame,
        )

    def encode(self, recorded: FloatArray, start: int) -> Target:
        """The target at one tick of a recorded episode; rows past its end are masked."""
        rows: NDArray[np.floating] = recorded[start : start + self.embodiment.horizon]
        if is_anchored(self.embodiment, self.path_frame):
            rows = compose(rows)
        values = np.zeros((self.horizon, self.channels), np.float32)
        mask = np.zeros((self.horizon, self.channels), np.bool_)
        values[: len(rows), : rows.shape[1]] = self.action.normalize(rows)
        mask[: len(rows), : rows.shape[1]] = True
        return Target(values=values, mask=mask)

    def encode_prefix(self, actions: FloatArray) -> FloatArray:
        """Rows of a chunk under way, (rows, channels) in the contract's frame, normalised and padded to (H, K)."""
        robot = self.embodiment
        stepwise = robot.action_frame == "anchored_se2" and not is_anchored(robot, self.path_frame)
        rows = differences(actions) if stepwise else actions
        values = np.zeros((self.horizon, self.channels), np.float32)
        values[: len(rows), : rows.shape[1]] = self.action.normalize(rows)
        return values

    def encode_state(self, state: FloatArray) -> FloatArray:
        """State of shape (S,) normalised and zero-padded to (state_channels,)."""
        padded = np.zeros(self.state_channels, np.float32)
        padded[: len(state)] = self.state.normalize(state)
        return padded

    def state_bins(self, state: FloatArray) -> tuple[int, ...]:
        """State of shape (S,) as one of 256 equal bins between q01 and q99 for each channel."""
        scaled = (self.state.normalize(state) + 1) / 2 * STATE_BINS
        return tuple(int(value) for value in np.clip(scaled, 0, STATE_BINS - 1))

    def decode(self, values: FloatArray) -> FloatArray:
        """Model output of shape (H, K) to a chunk (horizon, channels) in the contract's frame, every tick within its
        limits."""
        robot = self.embodiment
        rows = self.action.denormalize(values[: robot.horizon, : len(robot.action)])
        rows = differences(rows).astype(np.float32) if is_anchored(robot, self.path_frame) else rows
        low = np.array([channel.low for channel in robot.action], np.float32)
        high = np.array([channel.high for channel in robot.action], np.float32)
        return chunk_rows(robot, np.clip(rows, low, high).astype(np.float32), 0)


def is_anchored(embodiment: Embodiment, frame: PathFrame) -> bool:
    """Whether the network predicts poses of a path, instead of the rows as they are recorded."""
    return frame == "anchored" and embodiment.action_frame == "anchored_se2"


def _network_rows(embodiment: Embodiment, recorded: FloatArray, frame: PathFrame) -> NDArray[np.floating]:
    """Every row that the network may have to predict of an episode."""
    if not is_anchored(embodiment, frame):
        return recorded
    return np.concatenate([compose(recorded[start : start + embodiment.horizon]) for start in range(len(recorded))])
