"""What a robot is, as data. Its fingerprint is the contract that robot, dataset and policy must share.

Nothing here knows a simulator, a network or a tensor library. Channels carry physical units; a policy's
normalised numbers never leave the codec built on this contract.
"""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, Self, get_args

from volano.errors import Code, ContractError

Family = Literal["manipulation", "navigation", "trajectory"]
ActionFrame = Literal["step", "anchored_se2"]
_TAG = _CAMERA = re.compile(r"[a-z][a-z0-9_]{0,31}")
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
    """View tag in the prompt, for example `ego` or `cam_left_wrist`; it names the camera's file in a bundle."""
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
        cameras = [camera.name for camera in self.cameras]
        problems = [
            (not _TAG.fullmatch(self.tag), f"tag {self.tag!r} is not a short lower-case name"),
            (len(self.hold) != len(self.action), "`hold` and `action` differ in length"),
            (not 1 <= self.execute <= self.horizon, "`execute` is not within the horizon"),
            (not 0 < self.rate_hz <= 1000, f"rate {self.rate_hz} Hz is not within (0, 1000]"),
            (not self.cameras, "no camera"),
            (not all(map(_CAMERA.fullmatch, cameras)), "a camera's name is not short, lower-case and plain"),
            (len(set(cameras)) != len(cameras), "two cameras have one name"),
            (len({channel.name for channel in self.state}) != len(self.state), "two states have one name"),
            (len({channel.name for channel in self.action}) != len(self.action), "two actions have one name"),
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

    def __hash__(self) -> int:
        """By the fingerprint, which is worked out once."""
        return hash(self.fingerprint)

    def to_json(self) -> dict[str, object]:
        """Plain data for a manifest; `from_json` is its inverse."""
        return asdict(self)

    def _require_kinds(self) -> None:
        """Raise TypeError unless every value is of its field's kind: plain data may hold others."""
        channels = (*self.state, *self.action)
        texts = [self.body, self.control_mode, *(text for one in channels for text in (one.name, one.unit))]
        texts += [self.family, self.action_frame, *(camera.name for camera in self.cameras)]
        whole = [self.horizon, self.execute, *(side for one in self.cameras for side in (one.height, one.width))]
        numbers = [self.rate_hz, *self.hold, *(limit for one in channels for limit in (one.low, one.high))]
        kinds = [isinstance(text, str) for text in texts] + [type(number) is int for number in whole]
        if not all(kinds) or not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
            raise TypeError("a value is of another kind")
        if self.family not in get_args(Family) or self.action_frame not in get_args(ActionFrame):
            raise TypeError("the family or the frame of actions is not known")
        if not all(0 < number <= _MAX_COUNT for number in whole):
            raise TypeError(f"a size or horizon is not within 1 to {_MAX_COUNT}")

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
            made = cls(**fields)
            made._require_kinds()
        except ContractError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ContractError(
                Code.CONTRACT_VALUE, f"not an embodiment: {error}", "use the JSON written by `volano robot contract`"
            ) from error
        return made
