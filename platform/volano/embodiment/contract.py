"""What a robot is, as data. Its fingerprint is the contract that robot, dataset and policy must share.

Nothing here knows a simulator, a network or a tensor library. Channels carry physical units; a policy's
normalised numbers never leave the codec built on this contract.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, Self, get_args

from volano.errors import Code, ContractError

Family = Literal["manipulation", "navigation", "trajectory"]
ActionFrame = Literal["step", "anchored_se2"]
_TAG = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""A robot's tag, and a camera's name: both also name files."""
_MAX_COUNT = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One number of a state or action vector."""

    name: str
    unit: str
    low: float
    """Smallest value a robot may report or be commanded, in `unit`."""
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ContractError(
                Code.CONTRACT_VALUE,
                f"channel {self.name!r} has limits [{self.low}, {self.high}]",
                "give a lower limit below the upper one",
            )


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One image stream, as the policy sees it: uint8 RGB of shape (height, width, 3)."""

    name: str
    """View tag in the prompt, for example `ego` or `cam_left_wrist`."""
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Embodiment:
    """A robot's contract."""

    tag: str
    """Short name; it stands in the prompt and selects the robot there."""
    family: Family
    body: str
    """The prompt's description of the body, for example `single arm` or `mobile base`."""
    cameras: tuple[Camera, ...]
    state: tuple[Channel, ...]
    action: tuple[Channel, ...]
    """One row of a chunk: the leading channels of the model's action tensor, in this order."""
    control_mode: str
    action_frame: ActionFrame = "step"
    """`step`: each row stands alone. `anchored_se2`: rows are recorded as (dx, dy, dtheta) from tick to tick in
    the body frame, and predicted as poses relative to the chunk's first frame."""
    rate_hz: float
    horizon: int
    """Rows of a predicted chunk."""
    execute: int
    """Rows that a robot executes before it asks again."""
    hold: tuple[float, ...]
    """The row that keeps the robot still: its fallback when no valid answer is there."""

    def __post_init__(self) -> None:
        problems = [
            (not _TAG.fullmatch(self.tag), f"tag {self.tag!r} is not a short lower-case name"),
            (len(self.hold) != len(self.action), "`hold` and `action` differ in length"),
            (not 1 <= self.execute <= self.horizon, "`execute` is not within the horizon"),
            (not 0 < self.rate_hz <= 1000, f"rate {self.rate_hz} Hz is not within (0, 1000]"),
            (not self.cameras, "no camera"),
            (
                not all(_TAG.fullmatch(camera.name) for camera in self.cameras),
                "a camera's name is no short lower-case name",
            ),
            (_repeated(camera.name for camera in self.cameras), "two cameras of one name"),
            (_repeated(channel.name for channel in self.state), "two states of one name"),
            (_repeated(channel.name for channel in self.action), "two actions of one name"),
            (self.action_frame == "anchored_se2" and len(self.action) != 3, "anchored_se2 needs dx, dy, dtheta"),
        ]
        for wrong, what in problems:
            if wrong:
                raise ContractError(Code.CONTRACT_VALUE, f"embodiment {self.tag!r}: {what}", "correct the contract")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the canonical JSON of every field."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, object]:
        """Plain data for a manifest; `from_json` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises ContractError when it is not an embodiment."""
        try:
            if not isinstance(data, dict):
                raise TypeError(f"expected a map, got {type(data).__name__}")
            fields = dict(data)
            fields["cameras"] = tuple(Camera(**camera) for camera in fields["cameras"])
            fields["state"] = tuple(Channel(**channel) for channel in fields["state"])
            fields["action"] = tuple(Channel(**channel) for channel in fields["action"])
            fields["hold"] = tuple(float(value) for value in fields["hold"])
            robot = cls(**fields)
            _require_types(robot)
        except ContractError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ContractError(
                Code.CONTRACT_VALUE, f"not an embodiment: {error}", "use the JSON written by `volano robot contract`"
            ) from error
        return robot


def _repeated(names: Iterable[str]) -> bool:
    found = list(names)
    return len(set(found)) < len(found)


def _require_types(robot: Embodiment) -> None:
    """Raise TypeError when a field from outside is of another type than it says; JSON has its own."""
    channels = [*robot.state, *robot.action]
    texts = [robot.tag, robot.body, robot.control_mode]
    texts += [text for channel in channels for text in (channel.name, channel.unit)]
    numbers = [robot.rate_hz, *robot.hold, *(limit for channel in channels for limit in (channel.low, channel.high))]
    counts = [robot.horizon, robot.execute, *(side for one in robot.cameras for side in (one.height, one.width))]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name or unit is no text")
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        raise TypeError("a rate, limit or held value is no finite number")
    if not all(type(count) is int and 0 < count <= _MAX_COUNT for count in counts):
        raise TypeError(f"a size or horizon is no count up to {_MAX_COUNT}")
    if robot.family not in get_args(Family) or robot.action_frame not in get_args(ActionFrame):
        raise TypeError("the family or frame of actions is unknown")
