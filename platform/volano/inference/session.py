"""What a gateway knows of one connection, as pure functions: is this observation the robot's contract, which episode
does it belong to, and does it come after the one before.

Stock clients announce neither contract nor episode: for them every observation is held against the contract, and
the connection is the episode. Nothing here waits, measures time or keeps state.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from volano.data.text import is_plain_text
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, WireError
from volano.inference.protocols.openpi import MAX_FRAME_BYTES

PROTOCOL = 1
"""Version of our additions to openpi's wire, in the greeting."""
STATE = "observation/state"
PROMPT = "prompt"
IDENTITY = "volano"
"""Key of the map in which our own client says who and where it is."""
_IMAGE = "observation/image/"
_IDENTITY_KEYS = {"robot", "embodiment", "task", "episode", "tick"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_MAX_TEXT_BYTES = 1000
"""Of a prompt or task in UTF-8: a policy may need a token for each byte, and robots share its batches."""
_NOT_SHORT_TEXT = f"it is not a text of 1 to {_MAX_TEXT_BYTES} bytes without control characters"
_MAX_TICK = 1 << 31
_ENVELOPE_BYTES = 64 << 10
"""Room of a frame for everything that is not an array."""


def image_key(camera: str) -> str:
    """Key of a camera's image in an observation."""
    return _IMAGE + camera


def frame_limit(embodiment: Embodiment) -> int:
    """Most bytes of a frame that holds one observation of this contract."""
    images = sum(prod((camera.height, camera.width, 3)) for camera in embodiment.cameras)
    return min(images + 4 * len(embodiment.state) + _ENVELOPE_BYTES, MAX_FRAME_BYTES)


def check_observation(embodiment: Embodiment, observation: Mapping[str, Any]) -> None:
    """Hold a decoded observation against the contract.

    Raises ContractError(E-CONTRACT-001) for a missing, foreign or wrongly shaped field, WireError(E-WIRE-003) for a
    state that is not finite or a prompt that is not a short text; both name the field.
    """
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        image_key(camera.name): ("uint8", (camera.height, camera.width, 3)) for camera in embodiment.cameras
    }
    shapes[STATE] = ("float32", (len(embodiment.state),))
    expected = {*shapes, PROMPT}
    if missing := sorted(expected - set(observation)):
        raise _mismatch(embodiment, missing[0], "it is missing", "the contract has it")
    if foreign := sorted(set(observation) - expected - {IDENTITY}):
        raise _mismatch(embodiment, foreign[0], "the robot sent it", f"the contract has {', '.join(sorted(expected))}")
    for field, (dtype, shape) in shapes.items():
        value = observation[field]
        sent = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        if sent != f"{dtype} {shape}":
            raise _mismatch(embodiment, field, f"the robot sent {sent}", f"the contract has {dtype} {shape}")
    bad = np.flatnonzero(~np.isfinite(observation[STATE]))
    if bad.size:
        channel = embodiment.state[int(bad[0])].name
        raise _bad(STATE, f"channel {channel!r} is {observation[STATE][bad[0]]}")
    prompt = observation[PROMPT]
    if not _is_short_text(prompt) or not prompt.strip():
        raise _bad(PROMPT, _NOT_SHORT_TEXT)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a connection stands: its episode and the tick of the last observation."""

    episode: str
    tick: int
    explicit: bool
    """The robot named the episode; else the connection is the episode."""


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
    """The observation's arrays and prompt, and always the identity map, all of it checked."""


def read_request(
    robot: str, embodiment: Embodiment, connection: str, place: Place | None, message: Mapping[str, Any]
) -> tuple[Request, Place]:
    """Check a decoded frame and say where it belongs; `place` is what the previous call returned, None before it.

    Raises ContractError(E-CONTRACT-001) for another contract, WireError: E-WIRE-002 for another robot's name,
    E-WIRE-003 for anything else that is not the robot's next observation.
    """
    claims = message.get(IDENTITY)
    if claims is not None:
        _check_identity(robot, embodiment, claims)
    check_observation(embodiment, message)
    if claims is None:
        if place is not None and place.explicit:
            raise _bad(IDENTITY, "it is missing, and earlier observations of this connection had it")
        task, episode, tick = message[PROMPT], connection, 0 if place is None else place.tick + 1
    else:
        task, episode, tick = claims["task"], claims["episode"], claims["tick"]
    continues = place is not None and place.episode == episode
    if place is not None and continues and tick < place.tick:
        raise _bad(f"{IDENTITY}.tick", f"tick {tick} comes after tick {place.tick}")
    identity = {
        "robot": robot,
        "embodiment": embodiment.fingerprint,
        "task": task,
        "episode": episode,
        "tick": tick,
    }
    request = Request(
        episode=episode,
        task=task,
        tick=tick,
        new_episode=not continues,
        observation={**message, IDENTITY: identity},
    )
    return request, Place(episode=episode, tick=tick, explicit=claims is not None)


def _check_identity(robot: str, embodiment: Embodiment, claims: object) -> None:
    if not isinstance(claims, dict) or set(claims) != _IDENTITY_KEYS:
        raise _bad(IDENTITY, f"it is not a map of {', '.join(sorted(_IDENTITY_KEYS))}")
    if claims["embodiment"] != embodiment.fingerprint:
        sent = str(claims["embodiment"])[:12]
        contract = f"the contract of robot {robot!r} is {embodiment.fingerprint[:12]}"
        raise _mismatch(embodiment, f"{IDENTITY}.embodiment", f"the robot sent {sent!r}", contract)
    if claims["robot"] != robot:
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


def _is_short_text(text: object) -> bool:
    return isinstance(text, str) and len(text.encode()) <= _MAX_TEXT_BYTES and is_plain_text(text)


def _mismatch(embodiment: Embodiment, field: str, sent: str, contract: str) -> ContractError:
    return ContractError(
        Code.CONTRACT_MISMATCH,
        f"{embodiment.tag}: field {field[:80]!r}: {sent}, {contract}",
        "use a robot configuration and a registered embodiment with one fingerprint",
    )


def _bad(field: str, cause: str) -> WireError:
    return WireError(Code.WIRE_OBSERVATION, f"field {field!r}: {cause}", "correct the robot's observation")
