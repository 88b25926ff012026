"""Runs in the environment of openpi's own client, without Volano: asks a gateway and says what went out and came in.

python ask_with_openpi.py PORT KEY CALLS
Standard output ends with one JSON line: a list of [digest of what was sent, digest of the actions, dtype, shape,
request] for each call.
"""

import hashlib
import json
import sys
from typing import Any

import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy


def observation(number: int) -> dict[str, Any]:
    """What a rover perceives, different for every call."""
    random = np.random.default_rng(number)
    return {
        "observation/image/ego": random.integers(0, 256, (64, 64, 3), dtype=np.uint8),
        "observation/image/rear": random.integers(0, 256, (48, 64, 3), dtype=np.uint8),
        "observation/state": random.uniform(-1, 1, 2).astype(np.float32),
        "prompt": f"go to ball {number}",
    }


def digest(*arrays: Any) -> str:
    """SHA-256 over the arrays' bytes."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def main() -> None:
    """Ask one after another over one connection."""
    port, key, calls = sys.argv[1:]
    policy = WebsocketClientPolicy("127.0.0.1", int(port), api_key=key)
    rows = []
    for number in range(int(calls)):
        asked = observation(number)
        reply = policy.infer(asked)
        sent = digest(asked["observation/image/ego"], asked["observation/image/rear"], asked["observation/state"])
        actions = reply["actions"]
        rows.append([sent, digest(actions), str(actions.dtype), list(actions.shape), str(reply["request"])])
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
