"""Runs where the package msgpack-numpy is, without Volano: asks a gateway and says what went out and came in.

python ask_with_msgpack_numpy.py PORT KEY CALLS EPISODES SPELLING
SPELLING is msgpack-numpy, which is the package's own, or vllm, where the kind of an array's type stands beside it.
"""

import functools
import json
import sys
from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
from websockets.sync.client import connect

from tests.integration.asked import NAMES, perceived, row


def spelled(spelling: str, value: Any) -> Any:
    """An array as the client writes it."""
    if spelling == "vllm" and isinstance(value, np.ndarray):
        fields = {"nd": True, "type": value.dtype.str, "kind": value.dtype.kind, "shape": value.shape}
        return {**fields, "data": value.tobytes()}
    return msgpack_numpy.encode(value)


def read(spelling: str, value: Any) -> Any:
    """An array as the client reads it."""
    if spelling == "vllm" and value.get("nd") is True:
        array = np.frombuffer(value["data"], value["type"])
        assert array.dtype.kind == value["kind"], value
        return array.reshape(value["shape"])
    return msgpack_numpy.decode(value)


def main() -> None:
    """Ask one after another over one connection; another prompt is another episode."""
    port, key, calls, episodes, spelling = sys.argv[1:]
    rows = []
    with connect(f"ws://127.0.0.1:{port}/openpi?key={key}", compression=None, max_size=None) as connection:
        connection.recv()
        for number in range(int(calls)):
            images, state, prompt = perceived(number, int(calls), int(episodes))
            observation = {f"observation/{name}": image for name, image in zip(NAMES, images, strict=True)}
            message = {**observation, "observation/state": state, "prompt": prompt}
            connection.send(msgpack.packb(message, default=functools.partial(spelled, spelling)))
            reply = msgpack.unpackb(connection.recv(), object_hook=functools.partial(read, spelling))
            rows.append(row(images, state, prompt, reply["actions"]))
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
