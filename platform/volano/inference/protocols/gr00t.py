"""GR00T's wire over ZeroMQ, in its four generations: a map with an endpoint in, a map, a list or an error out.

The generation is seen in the message: N1.5 sends a flat observation and gets a flat map of actions; N1.6 and later send
`observation` and get `[actions, info]`; the newest N1.7 sends arrays as `msgpack-numpy` does, and gets such. A question
for the modalities looks the same from all. Its answer can satisfy all but N1.5, which wants a text where the others
want a map: its clients ask at a listener of their own.
"""

import json
from dataclasses import dataclass
from typing import Any

from volano.embodiment.contract import Embodiment
from volano.errors import Code, VolanoError, WireError
from volano.inference.protocols.arrays import pack, parse, shown
from volano.inference.protocols.dialect import Answer, Frame, Observed, Reply, Said, told
from volano.inference.protocols.gr00t_layout import actions_of, modalities, observation_of
from volano.inference.protocols.openpi import binary, origin
from volano.inference.protocols.spellings import Spelling

UNAUTHORIZED = pack({"error": "Unauthorized: Invalid API token"})
"""What a client without a robot's key gets, whatever it asked, word for word as the stock server says it."""
_PONG = pack({"status": "ok", "message": "Server is running"})
_DONE = pack({})


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How a client wrote its observation, and so how it reads the answer."""

    nested: bool
    batched: bool
    spelling: Spelling


def token_of(frame: bytes) -> str:
    """The key in a message, empty when there is none; no array of the message is decoded. Raises WireError for bytes
    that are no message."""
    token = parse(frame).get("api_token")
    return token if isinstance(token, str) else ""


@dataclass(frozen=True, kw_only=True)
class Gr00t:
    """Implements `Dialect`, for messages whose sender is known."""

    modality_text: bool = False
    """Modalities are told as N1.5 reads them."""

    def greet(self, robot: str, embodiment: Embodiment) -> None:
        """The client speaks first."""
        del robot, embodiment

    def read(self, embodiment: Embodiment, frame: Frame) -> Observed | Said:
        """An observation, or one of the endpoints that need no policy. Raises WireError also for `kill`: no robot stops
        the gateway."""
        message = binary(embodiment, frame)
        endpoint, data = message.fields.get("endpoint", "get_action"), message.fields.get("data")
        match endpoint if isinstance(endpoint, str) else "":
            case "get_action":
                return _observed(embodiment, data, message.spelling)
            case "ping":
                return Said(reply=_PONG)
            case "reset":
                return Said(reply=_DONE, boundary=True)
            case "get_modality_config":
                return Said(reply=_modalities(embodiment, as_text=self.modality_text))
            case "kill":
                raise WireError(Code.WIRE_AUTH, "no robot stops the gateway", "ask whoever runs it")
        raise WireError(Code.WIRE_FRAME, f"{shown('endpoint')} is none of ours", "use one of GR00T's")

    def write(self, embodiment: Embodiment, answer: Answer, observed: Observed) -> bytes:
        """The chunk by groups and, where the generation has room for it, where it comes from."""
        form: _Form = observed.reference
        if not form.nested:
            flat = actions_of(embodiment, answer.chunk, before="action.", batched=form.batched)
            return pack(flat, form.spelling)
        actions = actions_of(embodiment, answer.chunk, before="", batched=True)
        return pack([actions, origin(answer)], form.spelling)

    def refuse(self, error: VolanoError, observed: Observed | None) -> Reply:
        """An error, which every client raises; it may ask again."""
        del observed
        return Reply(frame=pack({"error": told(error)}))


def _observed(embodiment: Embodiment, data: Any, spelling: Spelling) -> Observed:
    if not isinstance(data, dict):
        raise WireError(Code.WIRE_FRAME, f"{shown('data')} is not a map", "send the observation")
    nested = "observation" in data
    sent = data["observation"] if nested else data
    if not isinstance(sent, dict) or (nested and not data.keys() <= {"observation", "options"}):
        raise WireError(Code.WIRE_FRAME, f"{shown('data')} is not an observation and options", "send those")
    observation, batched = observation_of(embodiment, sent)
    return Observed(observation=observation, reference=_Form(nested=nested, batched=batched, spelling=spelling))


def _modalities(embodiment: Embodiment, *, as_text: bool) -> bytes:
    """Under every mark and name that a generation looks for."""
    found = modalities(embodiment, prefixed=as_text)
    if as_text:
        marked: dict[str, Any] = {
            name: {"__ModalityConfig_class__": True, "as_json": json.dumps(modality)}
            for name, modality in found.items()
        }
    else:
        marks = {"__ModalityConfig_class__": True, "__ModalityConfig__": True}
        marked = {name: {**marks, "as_json": modality, "as_dict": modality} for name, modality in found.items()}
    return pack(marked)
