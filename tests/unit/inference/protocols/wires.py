"""What stock clients send and are answered, for a small arm with two cameras: made by the codec, byte for byte as the
clients' own packers make it (`tests/integration` asks with these)."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.unit.data.readers.sources import png
from volano.embodiment.contract import Camera, Channel, Embodiment
from volano.inference.protocols import own
from volano.inference.protocols.arrays import pack
from volano.inference.protocols.dialect import Answer, Dialect, Terms
from volano.inference.protocols.openpi import OpenPi
from volano.inference.protocols.roboarena import RoboArena
from volano.inference.protocols.spellings import MSGPACK_NUMPY, OPENPI, VLA_EVAL, VLLM, Spelling
from volano.inference.protocols.starvla import StarVla
from volano.inference.protocols.vlaeval import VlaEval

_JOINTS = (*(f"joint_position.{number}" for number in range(7)), "gripper_position")
_CHANNELS = tuple(Channel(name=name, unit="rad", low=-3.2, high=3.2) for name in _JOINTS)
ARM = Embodiment(
    tag="arm",
    family="manipulation",
    body="single arm",
    cameras=(
        Camera(name="exterior_image_0_left", height=4, width=6),
        Camera(name="wrist_image_left", height=4, width=6),
    ),
    state=_CHANNELS,
    action=_CHANNELS,
    control_mode="joint position",
    rate_hz=15.0,
    horizon=3,
    execute=2,
    hold=(0.0,) * 8,
)
OUTSIDE = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
WRIST = OUTSIDE[::-1].copy()
STATE = np.arange(8, dtype=np.float32) / 8
PROMPT = "pick up the cup"
OURS: dict[str, Any] = {
    "observation/image/exterior_image_0_left": OUTSIDE,
    "observation/image/wrist_image_left": WRIST,
    "observation/state": STATE,
    "prompt": PROMPT,
}
"""The observation under our own keys."""
IMAGES = [key for key in OURS if key.startswith("observation/image/")]
TERMS = Terms(coding="png", unchanged=True)
PLACE = {"robot": "arm-07", "embodiment": ARM.fingerprint, "task": "pick", "episode": "attempt-1", "tick": 4}
"""Where our own client says that it is."""
ANSWER = Answer(
    chunk=(np.arange(24, dtype=np.float32).reshape(3, 8) / 16).astype(np.float32),
    policy="a" * 64,
    request="request-1",
    rollout="rollout-1",
    arm="canary",
    read_ms=0.5,
    route_ms=0.25,
    infer_ms=1.5,
)
DIALECTS: dict[str, Dialect] = {
    "openpi": OpenPi(),
    "roboarena": RoboArena(),
    "starvla": StarVla(),
    "vlaeval": VlaEval(),
    "volano": own.Own(),
}


def droid(**changes: Any) -> dict[str, Any]:
    """RoboArena's request, which is openpi's for this robot with three fields more."""
    return {
        "observation/exterior_image_0_left": OUTSIDE,
        "observation/wrist_image_left": WRIST,
        "observation/joint_position": STATE[:7].astype(np.float64),
        "observation/gripper_position": STATE[7:],
        "prompt": PROMPT,
        **changes,
    }


def roboarena(**changes: Any) -> dict[str, Any]:
    return droid(
        **{"observation/cartesian_position": np.zeros(6), "session_id": "38DSA3hd3", "endpoint": "infer"} | changes
    )


def example(**changes: Any) -> dict[str, Any]:
    """starVLA's example."""
    return {"image": [OUTSIDE, WRIST], "lang": PROMPT, "state": STATE[np.newaxis], **changes}


def starvla(*examples: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """starVLA's request, as its clients send it: a flat map."""
    return {"examples": list(examples) or [example()], "unnorm_key": "arm", "do_sample": False, **changes}


def envelope(payload: dict[str, Any], kind: str = "observation", seq: int = 7) -> dict[str, Any]:
    return {"type": kind, "payload": payload, "seq": seq, "timestamp": 1.5}


def vlaeval(**changes: Any) -> dict[str, Any]:
    """vla-eval's observation, with images as arrays."""
    images = {"exterior_image_0_left": OUTSIDE, "wrist_image_left": WRIST}
    fields = {"images": images, "task_description": PROMPT, "states": STATE}
    return envelope(fields | changes)


def picture(image: NDArray[np.uint8], coding: Literal["png", "jpeg"] = "png") -> dict[str, Any]:
    """An image as vla-eval sends it."""
    return {
        "__image__": True,
        "format": coding,
        "data": png(image, "png" if coding == "png" else "mjpeg"),
        "shape": list(image.shape),
    }


FRAMES: dict[str, dict[str, Callable[[], bytes]]] = {
    "openpi": {
        "openpi": lambda: pack(droid()),
        "msgpack-numpy": lambda: pack(droid(), MSGPACK_NUMPY),
        "vllm": lambda: pack(droid(), VLLM),
        "vllm with text keys": lambda: pack(droid(), Spelling(marks="nd", keys="text", kinds=True)),
        "ours": lambda: pack(OURS),
    },
    "roboarena": {
        "infer": lambda: pack(roboarena()),
        "reset": lambda: pack({"endpoint": "reset", "session_id": "38DSA3hd3"}, OPENPI),
    },
    "starvla": {
        "flat": lambda: pack(starvla()),
        "payload": lambda: pack({"type": "infer", "request_id": "request-7", "payload": starvla()}),
        "ping": lambda: pack({"type": "ping", "request_id": 7}),
    },
    "vlaeval": {
        "hello": lambda: pack(envelope({"harness_version": "0.8.0", "protocol_version": 1}, "hello", 1)),
        "episode start": lambda: pack(envelope({"task": {"name": PROMPT}}, "episode_start", 2)),
        "observation": lambda: pack(vlaeval(), VLA_EVAL),
        "pictures": lambda: pack(
            vlaeval(
                images={"exterior_image_0_left": picture(OUTSIDE), "wrist_image_left": picture(WRIST, "jpeg")},
                controller_states=np.zeros(8, np.float32),
            ),
            VLA_EVAL,
        ),
        "episode end": lambda: pack(envelope({"metrics": {"success": True}}, "episode_end", 9)),
    },
    "volano": {
        "hello": lambda: own.hello(ARM, TERMS),
        "question": lambda: own.ask(7, OURS | {"volano": PLACE}),
        "pictures": lambda: own.ask(8, OURS | {key: picture(OURS[key]) for key in IMAGES} | {"volano": PLACE}),
    },
}
"""Frames of clients, by dialect and what they are."""
