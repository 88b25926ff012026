"""RoboArena's wire: openpi's, with an `endpoint` in every request, a `session_id`, and a greeting of six fields.

The greeting tells the client which cameras to send and what an action is; more or fewer fields break it. A session is
an episode; `reset` ends it. Of the three states that the client always sends the contract takes those that it has. The
client executes every row of an answer before it asks again, so that it is given as many as the contract executes.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from volano.embodiment.contract import Embodiment
from volano.errors import Code, VolanoError, WireError
from volano.inference.layout import arrange, groups
from volano.inference.protocols.arrays import pack
from volano.inference.protocols.dialect import Answer, Frame, Observed, Reply, Said
from volano.inference.protocols.openpi import OpenPi, binary, origin

RESET = "reset successful"
ACTION_SPACES = ("joint_position", "joint_velocity", "cartesian_position", "cartesian_velocity")
_OUTSIDE = re.compile(r"exterior_image_(\d)_(left|right)")
_ALWAYS_SENT = ("joint_position", "cartesian_position", "gripper_position")
_MAX_SESSION = 200


class RoboArena:
    """Implements `Dialect`."""

    def greet(self, robot: str, embodiment: Embodiment) -> bytes:
        """What the client has to send, and what it gets."""
        del robot
        names = [camera.name for camera in embodiment.cameras]
        sizes = {(camera.height, camera.width) for camera in embodiment.cameras}
        spaces = [*groups(embodiment.action), embodiment.control_mode.replace(" ", "_")]
        return pack(
            {
                "image_resolution": list(next(iter(sizes))) if len(sizes) == 1 else None,
                "needs_wrist_camera": any(name.startswith("wrist_image_") for name in names),
                "n_external_cameras": len({found[1] for name in names if (found := _OUTSIDE.fullmatch(name))}),
                "needs_stereo_camera": any(name.endswith("_right") for name in names),
                "needs_session_id": True,
                "action_space": next((space for space in spaces if space in ACTION_SPACES), embodiment.control_mode),
            }
        )

    def read(self, embodiment: Embodiment, frame: Frame) -> Observed | Said:
        """An observation, or the end of an episode."""
        message = binary(embodiment, frame)
        sent = dict(message.fields)
        endpoint, session = sent.pop("endpoint", "infer"), _session(sent.pop("session_id", None))
        if isinstance(endpoint, str) and endpoint == "reset":
            return Said(reply=RESET, boundary=True)
        if not isinstance(endpoint, str) or endpoint != "infer":
            raise WireError(Code.WIRE_OBSERVATION, "field 'endpoint' is neither infer nor reset", "send one of them")
        observation = arrange(embodiment, _asked_for(embodiment, sent))
        return Observed(observation=observation, reference=message.spelling, session=session)

    def write(self, embodiment: Embodiment, answer: Answer, observed: Observed) -> bytes:
        """The rows that the client executes, and where they come from."""
        return pack({"actions": answer.chunk[: embodiment.execute], **origin(answer)}, observed.reference)

    def refuse(self, error: VolanoError, observed: Observed | None) -> Reply:
        """As to openpi's client."""
        return OpenPi().refuse(error, observed)


def _asked_for(embodiment: Embodiment, sent: Mapping[str, Any]) -> dict[str, Any]:
    parts = groups(embodiment.state)
    unasked = {f"observation/{name}" for name in _ALWAYS_SENT if name not in parts}
    return {key: value for key, value in sent.items() if key not in unasked}


def _session(value: object) -> str:
    """A session as a text: clients send one, or an array of one number."""
    if value is None:
        return ""
    if isinstance(value, np.ndarray) and value.shape == (1,):
        value = value.item()
    if not isinstance(value, (str, int, float)) or len(str(value)) > _MAX_SESSION:
        raise WireError(Code.WIRE_OBSERVATION, "field 'session_id' is no short text or number", "name each episode")
    return str(value)
