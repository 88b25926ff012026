"""Runs where RoboArena's own client is, without Volano: asks a gateway and says what went out and came in.

python ask_with_roboarena.py PORT KEY CALLS EPISODES
The client knows host and port alone: the key stands before the host. What it sends follows from the greeting, which
has to be the configuration that it knows, field by field.
"""

import json
import sys
from typing import Any

import numpy as np
from roboarena.policy_client import WebsocketClientPolicy
from roboarena.policy_server import PolicyServerConfig

from tests.integration.asked import NAMES, perceived, row


def main() -> None:
    """Ask one after another over one connection; each episode is a session, and ends with a reset."""
    port, key, calls, episodes = sys.argv[1:]
    policy = WebsocketClientPolicy(f"arm-07:{key}@127.0.0.1", int(port))
    config = PolicyServerConfig(**policy.get_server_metadata())
    expected: Any = ([48, 64], True, 1, False, True, "joint_position")
    assert config == PolicyServerConfig(*expected), config
    rows: list[Any] = []
    for number in range(int(calls)):
        images, state, _ = perceived(number, int(calls), int(episodes))
        session = number * int(episodes) // int(calls)
        observation: dict[str, Any] = {f"observation/{name}": image for name, image in zip(NAMES, images, strict=True)}
        observation |= {
            "observation/joint_position": state[:7],
            "observation/cartesian_position": np.zeros(6, np.float32),
            "observation/gripper_position": state[7:],
            "session_id": f"session-{session}",
            "prompt": "pick up the cup",
        }
        rows.append(row(images, state, "pick up the cup", policy.infer(observation)["actions"]))
        if number % (int(calls) // int(episodes)) == int(calls) // int(episodes) - 1:
            said = policy.reset({"session_id": f"session-{session}"})
            assert said == "reset successful", said
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
