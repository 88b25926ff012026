"""starVLA's wire: a greeting with what the model is made for, then maps with `type`, `request_id` and a payload.

An example's images have no names: they are the contract's cameras in its order. One example is one robot; a frame with
more of them is refused. Options of sampling are the policy's own and are not followed. Refusals are structured and the
connection stays, unless the client cannot be understood. The client executes every row of an answer.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from volano.embodiment.contract import Embodiment
from volano.errors import Code, VolanoError, WireError
from volano.inference.layout import arrange, groups
from volano.inference.protocols.arrays import pack
from volano.inference.protocols.dialect import Answer, Frame, Observed, Reply, Said, is_parting, told
from volano.inference.protocols.openpi import binary, origin
from volano.inference.protocols.spellings import OPENPI, Spelling
from volano.inference.session import PROMPT, STATE, image_key

_MAX_REQUEST = 200
_ANSWER = "inference_result"
_Reference = tuple[str | int, Spelling]
"""The client's name of a request, and how it spells arrays."""


class StarVla:
    """Implements `Dialect`."""

    def greet(self, robot: str, embodiment: Embodiment) -> bytes:
        """What the model behind it is made for."""
        sizes = {(camera.height, camera.width) for camera in embodiment.cameras}
        return pack(
            {
                "env": "volano",
                "robot": robot,
                "embodiment": embodiment.fingerprint,
                "action_chunk_size": embodiment.execute,
                "available_unnorm_keys": [embodiment.tag],
                "default_unnorm_key": embodiment.tag,
                "training_obs_image_size": list(next(iter(sizes))) if len(sizes) == 1 else None,
                "action_keys": list(groups(embodiment.action)),
                "state_keys": list(groups(embodiment.state)),
                "cameras": [camera.name for camera in embodiment.cameras],
            }
        )

    def read(self, embodiment: Embodiment, frame: Frame) -> Observed | Said:
        """An observation or a ping; a request that is neither is a problem that its own request hears of."""
        message = binary(embodiment, frame)
        request, kind = message.fields.get("request_id", "default"), message.fields.get("type", "infer")
        if type(request) not in (str, int) or len(str(request)) > _MAX_REQUEST:
            raise WireError(Code.WIRE_FRAME, "field 'request_id' is no short text or number", "name each request")
        if isinstance(kind, str) and kind == "ping":
            return Said(reply=pack({"status": "ok", "ok": True, "type": "ping", "request_id": request}))
        reference: _Reference = (request, message.spelling)
        try:
            if not isinstance(kind, str) or kind not in ("infer", "predict_action"):
                raise _bad("type", "it is neither ping nor infer nor predict_action")
            payload = message.fields.get("payload", message.fields)
            return Observed(observation=_observation(embodiment, payload), reference=reference)
        except WireError as error:
            return Observed(observation={}, reference=reference, problem=error)

    def write(self, embodiment: Embodiment, answer: Answer, observed: Observed) -> bytes:
        """The rows that the client executes, (1, rows, channels), and where they come from."""
        request, spelling = observed.reference
        data = {"actions": answer.chunk[np.newaxis, : embodiment.execute], **origin(answer)}
        return pack({"status": "ok", "ok": True, "type": _ANSWER, "request_id": request, "data": data}, spelling)

    def refuse(self, error: VolanoError, observed: Observed | None) -> Reply:
        """A map with the code."""
        request, spelling = ("default", OPENPI) if observed is None else observed.reference
        said = {"message": told(error), "code": str(error.code)}
        frame = pack({"status": "error", "ok": False, "type": _ANSWER, "request_id": request, "error": said}, spelling)
        return Reply(frame=frame, ends=str(error.code) if is_parting(error) else "")


def _observation(embodiment: Embodiment, payload: object) -> dict[str, Any]:
    """The one example under our keys. Raises WireError(E-WIRE-003)."""
    if not isinstance(payload, Mapping):
        raise _bad("payload", "it is not a map")
    examples, norm = payload.get("examples"), payload.get("unnorm_key")
    if norm is not None and not (isinstance(norm, str) and norm == embodiment.tag):
        raise _bad("unnorm_key", f"the robot sent {str(norm)[:40]!r}, its contract is {embodiment.tag!r}")
    if not isinstance(examples, list) or not all(isinstance(example, Mapping) for example in examples):
        raise _bad("examples", "it is not a list of maps")
    if len(examples) != 1:
        raise _bad("examples", f"the robot sent {len(examples)}: one connection is one robot, one frame one example")
    example = dict(examples[0])
    images, text, state = example.pop("image", []), example.pop("lang", None), example.pop("state", None)
    named = _named(embodiment, images if isinstance(images, list) else [images])
    if isinstance(state, np.ndarray) and state.shape == (1, len(embodiment.state)):
        state = state[0]
    given = {PROMPT: text, STATE: state}
    return arrange(embodiment, example | named | {key: value for key, value in given.items() if value is not None})


def _named(embodiment: Embodiment, images: list[Any]) -> dict[str, Any]:
    """Images under their cameras' names; one too many stays without a camera, to be refused by its place."""
    names = [image_key(camera.name) for camera in embodiment.cameras]
    names += [f"image[{number}]" for number in range(len(names), len(images))]
    return dict(zip(names, images, strict=False))


def _bad(field: str, cause: str) -> WireError:
    return WireError(Code.WIRE_OBSERVATION, f"field {field!r}: {cause}", "send one example of this robot as a payload")
