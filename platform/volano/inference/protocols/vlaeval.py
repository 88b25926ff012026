"""vla-eval's wire: the client says hello first, then envelopes of type, payload, sequence number and time.

The only stock protocol that says where episodes begin and end. Images come as arrays, PNG or JPEG. The client executes
one row and asks again: it gets the first row of the chunk. An answer has the number and the time of its question.
"""

from dataclasses import dataclass
from typing import Any

from volano.embodiment.contract import Embodiment
from volano.errors import Code, VolanoError, WireError
from volano.inference.layout import arrange, groups
from volano.inference.protocols.arrays import pack
from volano.inference.protocols.dialect import Answer, Frame, Observed, Reply, Said, is_parting, told
from volano.inference.protocols.openpi import binary, origin
from volano.inference.protocols.spellings import VLA_EVAL
from volano.inference.session import PROMPT, STATE

VERSION = 1
"""Of the protocol."""
_TYPES = {"hello", "observation", "episode_start", "episode_end", "error"}
_NAMES = {"task_description": PROMPT, "states": STATE, "state": STATE}
"""What the client calls the prompt and the state."""
_OTHER_STATE = "controller_states"
"""A second state that some of its benchmarks always send; the contract takes it only where it has one of the name."""


@dataclass(frozen=True, kw_only=True)
class _Reference:
    """What an answer repeats of its question."""

    seq: int
    timestamp: float


class VlaEval:
    """Implements `Dialect`."""

    def greet(self, robot: str, embodiment: Embodiment) -> None:
        """The client speaks first."""
        del robot, embodiment

    def read(self, embodiment: Embodiment, frame: Frame) -> Observed | Said:
        """A greeting, an observation, or a boundary of episodes."""
        kind, payload, reference = _opened(binary(embodiment, frame).fields)
        if kind == "hello":
            return Said(reply=_hello(embodiment, payload, reference))
        if kind != "observation":
            return Said(reply=None, boundary=kind != "error")
        return Observed(observation=arrange(embodiment, _renamed(embodiment, payload)), reference=reference)

    def write(self, embodiment: Embodiment, answer: Answer, observed: Observed) -> bytes:
        """The row that the client executes, (channels,), and where it comes from."""
        del embodiment
        return _packed("action", {"actions": answer.chunk[0], **origin(answer)}, observed.reference)

    def refuse(self, error: VolanoError, observed: Observed | None) -> Reply:
        """A message of type `error`, which the client raises."""
        reference = _Reference(seq=0, timestamp=0.0) if observed is None else observed.reference
        said = {"error": told(error), "code": str(error.code)}
        return Reply(frame=_packed("error", said, reference), ends=str(error.code) if is_parting(error) else "")


def _opened(fields: dict[str, Any]) -> tuple[str, dict[str, Any], _Reference]:
    """Type, payload and what an answer repeats of an envelope."""
    kinds = {"type": (str,), "payload": (dict,), "seq": (int,), "timestamp": (int, float)}
    whole = fields.keys() == kinds.keys() and all(type(fields[name]) in kinds[name] for name in kinds)
    if not whole or fields["type"] not in _TYPES:
        raise WireError(
            Code.WIRE_FRAME,
            "the envelope is not one of type, payload, seq and timestamp",
            f"send {', '.join(sorted(_TYPES))}",
        )
    return fields["type"], fields["payload"], _Reference(seq=fields["seq"], timestamp=fields["timestamp"])


def _renamed(embodiment: Embodiment, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with the prompt and the state under our keys; a second one of them keeps its name, to be refused."""
    sent: dict[str, Any] = {}
    for key, value in payload.items():
        name = key if isinstance(value, dict) else _NAMES.get(key, key)
        if key != _OTHER_STATE or key in groups(embodiment.state):
            sent[key if name in sent else name] = value
    return sent


def _hello(embodiment: Embodiment, payload: dict[str, Any], reference: _Reference) -> bytes:
    version = payload.get("protocol_version")
    if type(version) is not int or version != VERSION:
        sent = str(version)[:20]
        raise WireError(
            Code.WIRE_FRAME, f"the client speaks protocol {sent!r}, the gateway {VERSION}", "use the same version"
        )
    said = {
        "harness_version": "volano",
        "protocol_version": VERSION,
        "model_server": "volano",
        "capabilities": {},
        "embodiment": embodiment.fingerprint,
        "tag": embodiment.tag,
    }
    return _packed("hello", said, reference)


def _packed(kind: str, payload: dict[str, Any], reference: _Reference) -> bytes:
    message = {"type": kind, "payload": payload, "seq": reference.seq, "timestamp": reference.timestamp}
    return pack(message, VLA_EVAL)
