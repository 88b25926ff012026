"""Frames as GR00T's clients send them, whole and well-formed: what tests ask with, and what sweeps change.

The packing here is written from the wire's description alone, beside ours and not through it.
"""

import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np

from tests.unit.data.bundles import ROVER
from volano.embodiment.contract import Channel, Embodiment

_NAMES = ("left_arm.0", "left_arm.1", "gripper")
ARM: Embodiment = replace(
    ROVER,
    tag="arm",
    state=tuple(Channel(name=name, unit="rad", low=-2, high=2) for name in _NAMES),
    action=tuple(Channel(name=name, unit="rad", low=-1, high=1) for name in _NAMES),
    hold=(0.0, 0.0, 0.0),
)
"""Two groups of channels, one of them of a single channel."""
LANGUAGE = "annotation.human.task_description"


def npy(array: Any) -> dict[str, Any]:
    """As N1.5, N1.6 and N1.7's release pack an array."""
    blob = io.BytesIO()
    np.save(blob, array, allow_pickle=False)
    return {"__ndarray_class__": True, "as_npy": blob.getvalue()}


def numpy_map(array: Any) -> dict[bytes, Any]:
    """As `msgpack-numpy` does."""
    shape = list(array.shape)
    return {b"nd": True, b"type": array.dtype.str, b"kind": b"", b"shape": shape, b"data": array.tobytes()}


def json_numpy(array: Any) -> dict[str, Any]:
    """As `json-numpy` does."""
    text = base64.b64encode(array.tobytes()).decode()
    return {"__numpy__": text, "dtype": array.dtype.str, "shape": list(array.shape)}


def arrays(number: int = 0) -> tuple[Any, Any, Any]:
    """Two images and a state of the arm."""
    random = np.random.default_rng(number)
    ego = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    rear = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return ego, rear, random.uniform(-1, 1, 3).astype(np.float32)


def flat(wrap: Callable[[Any], Any] = npy, number: int = 0, **changes: Any) -> dict[str, Any]:
    """An observation of N1.5; `changes` replace, or remove where they are None, with `__` for a point."""
    ego, rear, state = arrays(number)
    sent = {
        "video.ego": wrap(ego[np.newaxis]),
        "video.rear": wrap(rear[np.newaxis]),
        "state.left_arm": wrap(state[np.newaxis, :2].astype(np.float64)),
        "state.gripper": wrap(state[np.newaxis, 2:].astype(np.float64)),
        LANGUAGE: ["pick the ball"],
    }
    sent |= {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in sent.items() if value is not None}


def nested(wrap: Callable[[Any], Any] = npy, number: int = 0) -> dict[str, Any]:
    """An observation of N1.6 and later."""
    ego, rear, state = (array[np.newaxis, np.newaxis] for array in arrays(number))
    return {
        "video": {"ego": wrap(ego), "rear": wrap(rear)},
        "state": {"left_arm": wrap(state[..., :2]), "gripper": wrap(state[..., 2:])},
        "language": {LANGUAGE: [["pick the ball"]]},
    }


def asking(endpoint: str, data: Any = None, token: str = "") -> bytes:
    """A message to an endpoint."""
    message = {"endpoint": endpoint}
    message |= {} if data is None else {"data": data}
    message |= {"api_token": token} if token else {}
    return bytes(msgpack.packb(message))


def frames(token: str = "") -> Iterator[tuple[str, bytes]]:
    """A name and a well-formed message of every kind and generation."""
    for name in ("ping", "kill", "get_modality_config"):
        yield name, asking(name, token=token)
    yield "reset", asking("reset", {"options": None}, token)
    yield "N1.5", asking("get_action", flat(), token)
    yield "N1.5 of columns", asking("get_action", flat(lambda array: npy(np.asfortranarray(array))), token)
    yield "N1.6", asking("get_action", {"observation": nested(), "options": None}, token)
    yield "N1.6, flat", asking("get_action", {"observation": flat(), "options": {"seed": 1}}, token)
    yield "N1.7", asking("get_action", {"observation": nested(numpy_map), "options": None}, token)


def bodies() -> Iterator[tuple[str, bytes]]:
    """A name and a well-formed body of every kind of the HTTP form."""
    body = json.dumps({"observation": flat(json_numpy)})
    yield "act", body.encode()
    yield "act, nested", json.dumps({"observation": nested(json_numpy)}).encode()
    yield "act, encoded", json.dumps({"encoded": body}).encode()
