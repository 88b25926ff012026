"""What a gateway knows of one connection, as pure functions: is this observation the robot's contract, which episode
does it belong to, and does it come after the one before.

Stock clients announce neither contract nor episode: for them every observation is held against the contract, and an
episode ends where the protocol says so, where the prompt changes, after a long silence, or with the connection.
Nothing here waits, measures time or keeps state.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.data.text import is_plain_text
from volano.embodiment.contract import Embodiment
from volano.embodiment.prefix import fits
from volano.errors import Code, ContractError, WireError
from volano.inference.advice import FAR, correct_image, correct_state, other_unit, rename
from volano.inference.guard import within_limits
from volano.inference.protocols.arrays import MAX_FRAME_BYTES

PROTOCOL = 2
"""Version of our additions to openpi's wire, in the greeting."""
STATE = "observation/state"
PROMPT = "prompt"
IDENTITY = "volano"
"""Key of the map in which our own client says who and where it is."""
_IMAGE = "observation/image/"
PREFIX = "prefix"
"""Key, in that map, of what the robot executes until the answer is there: `actions`, float32 of shape (rows, channels),
and `delay`, the number of them that is executed whatever the answer says."""
_IDENTITY_KEYS = {"robot", "embodiment", "task", "episode", "tick"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_MAX_TEXT_BYTES = 1000
"""Of a prompt or task in UTF-8: a policy may need a token for each byte, and robots share its batches."""
_NOT_SHORT_TEXT = f"it is not a text of 1 to {_MAX_TEXT_BYTES} bytes without control characters"
_MAX_TICK = 1 << 31
_MAX_NAMES = 120
"""Characters of a list of fields in an error."""
_ENVELOPE_BYTES = 64 << 10
"""Room of a frame for everything that is not an array."""
IDLE_GAP_S = 60.0
"""A stock client that was silent for longer begins a new episode with its next observation."""


def image_key(camera: str) -> str:
    """Key of a camera's image in an observation."""
    return _IMAGE + camera


def frame_limit(embodiment: Embodiment) -> int:
    """Most bytes of a frame that holds one observation of this contract."""
    images = sum(prod((camera.height, camera.width, 3)) for camera in embodiment.cameras)
    numbers = len(embodiment.state) + embodiment.horizon * len(embodiment.action)
    return min(images + 4 * numbers + _ENVELOPE_BYTES, MAX_FRAME_BYTES)


def check_observation(embodiment: Embodiment, observation: Mapping[str, Any]) -> None:
    """Hold a decoded observation against the contract.

    Raises ContractError(E-CONTRACT-001) for a missing, foreign or wrongly shaped field and a state in other units, with
    both sides and the likeliest fix; WireError(E-WIRE-003) for a state that is not finite or a prompt that is not a
    short text. Each names the field.
    """
    shapes = _shapes(embodiment)
    _check_names(embodiment, observation, {*shapes, PROMPT})
    for field, (dtype, shape) in shapes.items():
        value = observation[field]
        if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
            fix = _correct(embodiment, field, value)
            whole = f"the contract has {dtype} {shape}"
            raise _mismatch(embodiment, field, f"the robot sent {_kind(value)}", whole, fix)
    _check_state(embodiment, observation[STATE])
    prompt = observation[PROMPT]
    if not _is_short_text(prompt) or not prompt.strip():
        raise _bad(PROMPT, _NOT_SHORT_TEXT)


def _check_names(embodiment: Embodiment, observation: Mapping[str, Any], expected: set[str]) -> None:
    if observation.keys() - {IDENTITY} == expected:
        return
    missing, foreign = sorted(expected - set(observation)), sorted(set(observation) - expected - {IDENTITY})
    if missing:
        near = rename(missing[0], foreign)
        sent = f"it is missing, the robot sent {_names(observation)}"
        fix = f"rename {_shown(near)} to {missing[0]!r}" if near else f"send {missing[0]!r}"
        raise _mismatch(embodiment, missing[0], sent, f"the contract has {_names(expected)}", fix)
    if foreign:
        near = rename(foreign[0], expected)
        fix = f"leave out {_shown(foreign[0])}" + (f": {near!r} is there as well" if near else "")
        raise _mismatch(embodiment, foreign[0], "the robot sent it", f"the contract has {_names(expected)}", fix)


@lru_cache(maxsize=1024)
def _shapes(embodiment: Embodiment) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Type and shape of every array of an observation."""
    images = {image_key(camera.name): (camera.height, camera.width, 3) for camera in embodiment.cameras}
    found: dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
    found = {key: (np.dtype(np.uint8), shape) for key, shape in images.items()}
    return {**found, STATE: (np.dtype(np.float32), (len(embodiment.state),))}


@lru_cache(maxsize=1024)
def _far(embodiment: Embodiment) -> NDArray[np.float64]:
    """Of every state channel, what no finite value in its unit passes."""
    return FAR * np.array([max(abs(channel.low), abs(channel.high)) for channel in embodiment.state])


def _correct(embodiment: Embodiment, field: str, value: object) -> str:
    """The likeliest fix of an array of another type or shape."""
    if field == STATE:
        return correct_state(value, embodiment.state)
    sizes = {camera.name: (camera.height, camera.width) for camera in embodiment.cameras}
    height, width = next(size for name, size in sizes.items() if image_key(name) == field)
    return correct_image(value, height, width, sizes)


def _check_state(embodiment: Embodiment, state: NDArray[np.float32]) -> None:
    if (np.abs(state) <= _far(embodiment)).all():  # false for NaN
        return
    channels = embodiment.state
    bad = np.flatnonzero(~np.isfinite(state))
    if bad.size:
        raise _bad(STATE, f"channel {channels[int(bad[0])].name!r} is {state[bad[0]]}")
    if other := other_unit(channels, state):
        number, unit = other
        channel = channels[number]
        limits = f"the contract has [{channel.low:g}, {channel.high:g}] {channel.unit}"
        fix = f"send {channel.unit}: these look like {unit}"
        raise _mismatch(embodiment, STATE, f"channel {channel.name!r} is {state[number]:g}", limits, fix)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a connection stands: its episode and the tick of the last observation."""

    episode: str
    tick: int
    explicit: bool
    """The robot named the episode; else it is found by `read_request`."""
    prompt: str
    at_s: float
    """When the last observation came, on the caller's monotonic clock."""
    number: int
    """Episodes of this connection before this one."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One checked observation and where it belongs."""

    episode: str
    task: str
    """What the robot calls the task; a stock client's prompt."""
    tick: int
    new_episode: bool
    """The first observation of its episode on this connection."""
    observation: dict[str, Any]
    """The observation's arrays and prompt, and always the identity map, all of it checked; a prefix is within the
    contract's limits."""


def read_request(
    robot: str,
    embodiment: Embodiment,
    connection: str,
    place: Place | None,
    message: Mapping[str, Any],
    *,
    now: float,
    boundary: bool = False,
) -> tuple[Request, Place]:
    """Check a decoded frame and say where it belongs; `place` is what the previous call returned, None before it, `now`
    monotonic seconds. `boundary`: since then the client said in its protocol's words that an episode ended.

    Raises ContractError(E-CONTRACT-001) for another contract, WireError: E-WIRE-002 for another robot's name,
    E-WIRE-003 for anything else that is not the robot's next observation.
    """
    claims = message.get(IDENTITY)
    if claims is not None:
        _check_identity(robot, embodiment, claims)
    check_observation(embodiment, message)
    if claims is None:
        task = message[PROMPT]
        episode, tick = _guess(connection, place, task, now=now, boundary=boundary)
    else:
        task, episode, tick = claims["task"], claims["episode"], claims["tick"]
    continues = place is not None and place.episode == episode
    if place is not None and continues and tick < place.tick:
        raise _bad(f"{IDENTITY}.tick", f"tick {tick} comes after tick {place.tick}")
    identity: dict[str, Any] = {
        "robot": robot,
        "embodiment": embodiment.fingerprint,
        "task": task,
        "episode": episode,
        "tick": tick,
    }
    if claims is not None and PREFIX in claims:
        identity[PREFIX] = _read_prefix(embodiment, claims[PREFIX])
    request = Request(
        episode=episode,
        task=task,
        tick=tick,
        new_episode=not continues,
        observation={**message, IDENTITY: identity},
    )
    number = 0 if place is None else place.number + (not continues)
    return request, Place(
        episode=episode, tick=tick, explicit=claims is not None, prompt=message[PROMPT], at_s=now, number=number
    )


def _guess(connection: str, place: Place | None, prompt: str, *, now: float, boundary: bool) -> tuple[str, int]:
    """Episode and tick of an observation that names neither."""
    if place is None:
        return f"{connection}-0", 0
    if place.explicit:
        raise _bad(IDENTITY, "it is missing, and earlier observations of this connection had it")
    if not boundary and prompt == place.prompt and now - place.at_s <= IDLE_GAP_S:
        return place.episode, place.tick + 1
    return f"{connection}-{place.number + 1}", 0


def _check_identity(robot: str, embodiment: Embodiment, claims: object) -> None:
    if not isinstance(claims, dict) or set(claims) - {PREFIX} != _IDENTITY_KEYS:
        raise _bad(IDENTITY, f"it is not a map of {', '.join(sorted(_IDENTITY_KEYS))}")
    if not isinstance(claims["embodiment"], str) or claims["embodiment"] != embodiment.fingerprint:
        sent = str(claims["embodiment"])[:12]
        contract = f"the contract of robot {robot!r} is {embodiment.fingerprint[:12]}"
        fix = "enroll the robot with the embodiment that it has"
        raise _mismatch(embodiment, f"{IDENTITY}.embodiment", f"the robot sent {sent!r}", contract, fix)
    if not isinstance(claims["robot"], str) or claims["robot"] != robot:
        raise WireError(
            Code.WIRE_AUTH,
            f"the key belongs to robot {robot!r}, the observation claims another",
            "give every robot its own key",
        )
    if not _is_short_text(claims["task"]) or not claims["task"]:
        raise _bad(f"{IDENTITY}.task", _NOT_SHORT_TEXT)
    if not isinstance(claims["episode"], str) or not _NAME.fullmatch(claims["episode"]):
        raise _bad(f"{IDENTITY}.episode", "it is not a plain name of at most 100 characters")
    if type(claims["tick"]) is not int or not 0 <= claims["tick"] < _MAX_TICK:
        raise _bad(f"{IDENTITY}.tick", "it is not a count")


def _read_prefix(embodiment: Embodiment, prefix: object) -> dict[str, Any]:
    field, channels = f"{IDENTITY}.{PREFIX}", len(embodiment.action)
    if not isinstance(prefix, dict) or set(prefix) != {"actions", "delay"}:
        raise _bad(field, "it is not a map of actions, delay")
    actions, delay = prefix["actions"], prefix["delay"]
    if not isinstance(actions, np.ndarray) or actions.dtype != np.float32 or actions.shape[1:] != (channels,):
        sent = f"{actions.dtype} {actions.shape}" if isinstance(actions, np.ndarray) else type(actions).__name__
        raise _bad(f"{field}.actions", f"the robot sent {sent}, the contract has float32 (rows, {channels})")
    if type(delay) is not int or not fits(embodiment, len(actions), delay):
        least = f"delay <= rows <= {embodiment.horizon} - delay"
        raise _bad(f"{field}.delay", f"{len(actions)} rows and delay {str(delay)[:20]}: they must fit {least}")
    if not np.isfinite(actions).all():
        raise _bad(f"{field}.actions", "they hold NaN or infinity")
    return {"actions": within_limits(embodiment, actions), "delay": delay}


def _is_short_text(text: object) -> bool:
    return isinstance(text, str) and len(text.encode()) <= _MAX_TEXT_BYTES and is_plain_text(text)


def _kind(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _names(fields: Iterable[str]) -> str:
    names = ", ".join(_shown(field)[1:-1] for field in sorted(fields))
    return names if len(names) <= _MAX_NAMES else f"{names[:_MAX_NAMES]}…"


def _shown(field: str) -> str:
    """A name from outside, short and printable."""
    return repr(field[:80])


def _mismatch(embodiment: Embodiment, field: str, sent: str, contract: str, fix: str) -> ContractError:
    return ContractError(Code.CONTRACT_MISMATCH, f"{embodiment.tag}: field {_shown(field)}: {sent}, {contract}", fix)


def _bad(field: str, cause: str) -> WireError:
    return WireError(Code.WIRE_OBSERVATION, f"field {field!r}: {cause}", "correct the robot's observation")
