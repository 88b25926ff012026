"""GR00T's HTTP form: `POST /act` with `{"observation": …}` as JSON, arrays as `json-numpy` writes them.

A frame is the body of a request; a frame that goes back is the status, a blank and the body, since the protocol says in
the status whether there is an action. Brackets and commas are counted before anything is parsed; base64 has no foreign
letter, and as many bytes as shape and type say.
"""

import json
from typing import Any

from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, VolanoError, WireError
from volano.inference.protocols.arrays import beyond, checked, shown
from volano.inference.protocols.dialect import Answer, Frame, Observed, Reply, Said, told
from volano.inference.protocols.gr00t_layout import actions_of, observation_of
from volano.inference.protocols.spellings import JSON_NUMPY, malformed, written
from volano.inference.session import frame_limit

_MAX_MARKS = 2048
"""Brackets and commas in a body, so that a small one cannot become many objects."""
_STATUS = {Code.WIRE_AUTH: 401, Code.WIRE_LIMIT: 413}
_ENCODED = "encoded"


def body_limit(embodiment: Embodiment) -> int:
    """Most bytes of a body that holds one observation of this contract."""
    return frame_limit(embodiment) // 3 * 4 + 4


class Gr00tHttp:
    """Implements `Dialect`."""

    def greet(self, robot: str, embodiment: Embodiment) -> None:
        """The client speaks first."""
        del robot, embodiment

    def read(self, embodiment: Embodiment, frame: Frame) -> Observed | Said:
        """Every body is an observation."""
        data = frame.encode() if isinstance(frame, str) else bytes(frame)
        message = _parse(data, body_limit(embodiment))
        if message.keys() == {_ENCODED} and isinstance(message[_ENCODED], str):
            message = _parse(_inner(message[_ENCODED]), body_limit(embodiment))
        sent = checked(message).fields.get("observation")
        if not isinstance(sent, dict):
            raise malformed(f"{shown('observation')} is not a map")
        observation, batched = observation_of(embodiment, sent)
        return Observed(observation=observation, reference=batched)

    def write(self, embodiment: Embodiment, answer: Answer, observed: Observed) -> bytes:
        """The chunk by groups, and nothing else: clients take every entry for an action."""
        actions = actions_of(embodiment, answer.chunk, before="action.", batched=observed.reference)
        return framed(200, {name: written(JSON_NUMPY, part) for name, part in actions.items()})

    def refuse(self, error: VolanoError, observed: Observed | None) -> Reply:
        """A status that is not 200, and the code in `detail`."""
        del observed
        status = _STATUS.get(error.code, 400) if isinstance(error, (WireError, ContractError)) else 503
        return Reply(frame=framed(status, {"detail": told(error)}))


def framed(status: int, message: dict[str, Any]) -> bytes:
    """A frame that goes back."""
    return f"{status} {json.dumps(message)}".encode()


def split(frame: bytes) -> tuple[int, bytes]:
    """Status and body of a frame that goes back."""
    return int(frame[:3]), frame[4:]


def _inner(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # half of a pair, as JSON can spell it
        raise malformed("the body within the body is no text") from error


def _parse(data: bytes, limit: int) -> dict[Any, Any]:
    if len(data) > limit:
        raise beyond(f"the body has {len(data)} bytes, more than {limit}")
    if sum(map(data.count, (b"[", b"{", b","))) > _MAX_MARKS:
        raise beyond(f"the body has more than {_MAX_MARKS} brackets and commas")
    try:
        message = json.loads(data, object_pairs_hook=_map_of, parse_constant=_no_constant)
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise malformed(f"the body is not JSON within the limits: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise malformed(f"the body holds a {type(message).__name__}, not a map")
    return message


def _map_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) != len(pairs):
        raise malformed("a map has one key twice")
    return items


def _no_constant(text: str) -> None:
    raise malformed(f"the body has a bare {text}")
