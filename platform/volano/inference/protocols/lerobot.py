"""LeRobot's async inference in our words: who a client is and what its robot has, an observation, a chunk of actions.

Motors are the contract's channels by their names, cameras its cameras, `task` is the prompt. Actions carry no names:
a client deals them out in the order of its own motors, so that a contract for it has them in that order. Pure
functions; what is read is hostile, and what it was sent as is `pickles`'.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import numpy as np

from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, WireError
from volano.inference.protocols.dialect import Observed
from volano.inference.protocols.pickles import Record, read_pickle
from volano.inference.protocols.spellings import malformed
from volano.inference.session import PROMPT, STATE, image_key

_MODULE = "lerobot.async_inference.helpers."
_SETUP, _OBSERVATION = _MODULE + "RemotePolicyConfig", _MODULE + "TimedObservation"
_RECORDS = {
    _SETUP: frozenset(
        ("policy_type", "pretrained_name_or_path", "lerobot_features", "actions_per_chunk", "device", "rename_map")
    ),
    _OBSERVATION: frozenset(("timestamp", "timestep", "observation", "must_go")),
}
_MAX_SETUP_BYTES = 64 << 10
_MAX_ALIAS = 2000
_MAX_KEY = 512
_MAX_TIMESTEP = 1 << 30
_STATE_FEATURE, _IMAGE_FEATURE = "observation.state", "observation.images."
_TASK = "task"
_ALIAS_FORM = "volano/TASK@stable?robot=ROBOT&key=KEY"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a client says before anything moves."""

    robot: str
    key: str = field(repr=False)
    task: str
    """The prompt of observations that have none; may be empty."""
    actions_per_chunk: int
    """Rows that it wants of a chunk."""
    motors: tuple[str, ...]
    """In the client's order, in which it takes actions too."""
    cameras: Mapping[str, tuple[int, int, int]]
    """Height, width and colours of each image."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Which observation it was, in the client's own time."""

    timestamp: float
    """Seconds of the client's clock."""
    timestep: int
    """The action that the client executed last, or 0."""
    must_go: bool
    """The client has no actions left."""


def read_setup(data: bytes) -> Setup:
    """A pickled RemotePolicyConfig. Raises WireError: E-WIRE-001 when it is none, E-WIRE-002 when its policy's name is
    not our alias, E-WIRE-004 when it is too large; none of them shows the key."""
    fields = _record(data, _SETUP, _MAX_SETUP_BYTES)
    task, robot, key = _read_alias(fields["pretrained_name_or_path"])
    rows, features, renamed = fields["actions_per_chunk"], fields["lerobot_features"], fields["rename_map"]
    if type(rows) is not int or rows < 1 or not isinstance(features, dict) or not isinstance(renamed, dict) or renamed:
        raise malformed("actions_per_chunk is no count, or lerobot_features no map, or rename_map not empty")
    motors: tuple[str, ...] = ()
    cameras: dict[str, tuple[int, int, int]] = {}
    for name, feature in features.items():
        known = feature if isinstance(feature, dict) else {}
        if name == _STATE_FEATURE and _are_texts(known.get("names")):
            motors = tuple(known["names"])
        elif name.startswith(_IMAGE_FEATURE) and _is_size(known.get("shape")):
            cameras[name.removeprefix(_IMAGE_FEATURE)] = tuple(known["shape"])
        else:
            raise malformed(f"feature {name[:80]!r} is neither a state with names nor an image with a shape")
    return Setup(robot=robot, key=key, task=task, actions_per_chunk=rows, motors=motors, cameras=cameras)


def check_setup(embodiment: Embodiment, setup: Setup) -> None:
    """Hold a client's features against its robot's contract, before anything moves; raises
    ContractError(E-CONTRACT-001), which says what both have."""
    contract = [channel.name for channel in embodiment.state]
    if sorted(setup.motors) != sorted(contract):
        raise _mismatch(embodiment, _STATE_FEATURE, list(setup.motors), contract)
    actions = [channel.name for channel in embodiment.action]
    if list(setup.motors) != actions:
        raise _mismatch(embodiment, "action", list(setup.motors), actions)
    sizes = {camera.name: (camera.height, camera.width, 3) for camera in embodiment.cameras}
    if dict(setup.cameras) != sizes:
        raise _mismatch(embodiment, _IMAGE_FEATURE[:-1], dict(sorted(setup.cameras.items())), sizes)
    if embodiment.action_frame != "step":
        raise _mismatch(embodiment, "action", "rows that each stand alone", f"rows of {embodiment.action_frame}")
    if min(setup.actions_per_chunk, embodiment.horizon) < 2:
        # The client takes a chunk's first row for the action that it executed last, and would never move again.
        raise _mismatch(
            embodiment, "actions_per_chunk", setup.actions_per_chunk, f"{embodiment.horizon} rows, 2 or more"
        )


def read_observation(embodiment: Embodiment, data: bytes, task: str, max_bytes: int) -> Observed:
    """A pickled TimedObservation under our keys, its `Moment` as reference. Raises WireError for what is none, and
    ContractError for a motor that is missing or a name that is foreign; the rest is held against the contract by
    `check_observation`."""
    fields = _record(data, _OBSERVATION, max_bytes)
    at, step, sent = fields["timestamp"], fields["timestep"], fields["observation"]
    if type(at) is not float or not math.isfinite(at) or type(step) is not int or not 0 <= step < _MAX_TIMESTEP:
        raise malformed("the observation's timestamp is no time, or its timestep no count")
    if type(fields["must_go"]) is not bool or not isinstance(sent, dict):
        raise malformed("the observation's must_go is no truth value, or it is no map")
    moment = Moment(timestamp=at, timestep=step, must_go=fields["must_go"])
    return Observed(observation=_arranged(embodiment, sent, task), reference=moment)


def _arranged(embodiment: Embodiment, sent: Mapping[str, Any], task: str) -> dict[str, Any]:
    rest = dict(sent)
    numbers = []
    for channel in embodiment.state:
        number = rest.pop(channel.name, None)
        if not isinstance(number, int | float | np.integer | np.floating) or isinstance(number, bool):
            raise _mismatch(embodiment, channel.name, f"a {type(number).__name__}", "a number")
        numbers.append(number)
    with np.errstate(over="ignore"):  # what no float32 holds is infinite, and refused as such
        arranged: dict[str, Any] = {STATE: np.array(numbers, np.float64).astype(np.float32)}
    for camera in embodiment.cameras:
        if camera.name in rest:
            arranged[image_key(camera.name)] = rest.pop(camera.name)
    prompt = rest.pop(_TASK, "")
    if rest:
        raise _mismatch(embodiment, min(rest), "a value", "nothing of that name")
    is_missing = isinstance(prompt, str) and not prompt  # an array is neither equal nor unequal to a text
    return arranged | {PROMPT: task if is_missing else prompt}


def _record(data: bytes, name: str, max_bytes: int) -> dict[str, Any]:
    value = read_pickle(data, _RECORDS, max_bytes)
    if not isinstance(value, Record) or value.name != name or value.fields is None:
        raise malformed(f"the pickle is no {name}")
    return value.fields


def _read_alias(alias: object) -> tuple[str, str, str]:
    """Task, robot and key of the name by which a client asks for a policy; nothing of a wrong one is repeated."""
    text = alias if isinstance(alias, str) and len(alias) <= _MAX_ALIAS else ""
    path, _, query = text.partition("?")
    family, _, rest = path.partition("/")
    task, _, channel = rest.rpartition("@")
    try:
        said = parse_qs(query, max_num_fields=2)
    except ValueError:
        said = {}
    robot, key = "".join(said.get("robot", [])), "".join(said.get("key", []))
    if (family, channel) != ("volano", "stable") or not robot or not 0 < len(key) <= _MAX_KEY:
        raise WireError(
            Code.WIRE_AUTH,
            f"pretrained_name_or_path is not {_ALIAS_FORM}",
            "name the robot and its key there: LeRobot's wire has no other place for them",
        )
    return unquote(task), robot, key


def _are_texts(names: object) -> bool:
    return isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)


def _is_size(shape: object) -> bool:
    return isinstance(shape, list | tuple) and len(shape) == 3 and all(type(side) is int for side in shape)


def _mismatch(embodiment: Embodiment, what: str, sent: object, contract: object) -> ContractError:
    return ContractError(
        Code.CONTRACT_MISMATCH,
        f"{embodiment.tag}: {what[:80]!r}: the client has {str(sent)[:600]}, the contract {str(contract)[:600]}",
        "give the client and the enrolled embodiment the same motors and cameras",
    )
