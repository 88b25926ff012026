"""Runs where starVLA's own client is, without Volano: asks a gateway and says what went out and came in.

python ask_with_starvla.py PORT KEY CALLS EPISODES
"""

import json
import logging
import sys

import numpy as np
from deployment.model_server.tools.websocket_policy_client import WebsocketClientPolicy

from tests.integration.asked import perceived, row


def main() -> None:
    """Ask one after another over one connection; another instruction is another episode."""
    port, key, calls, episodes = sys.argv[1:]
    logging.disable(logging.INFO)
    policy = WebsocketClientPolicy("127.0.0.1", int(port), api_key=key)
    metadata = policy.get_server_metadata()
    assert policy.predict_action({"type": "ping", "request_id": "ping-1"})["request_id"] == "ping-1"
    rows = []
    for number in range(int(calls)):
        images, state, prompt = perceived(number, int(calls), int(episodes))
        request = {
            "examples": [{"image": images, "lang": prompt, "state": state[np.newaxis]}],
            "unnorm_key": metadata["default_unnorm_key"],
            "do_sample": False,
        }
        asked = request if number % 2 else {"type": "infer", "request_id": f"request-{number}", "payload": request}
        reply = policy.predict_action(asked)
        assert reply["ok"], reply
        assert reply["request_id"] == asked.get("request_id", "default"), reply
        actions = reply["data"]["actions"]
        assert actions.shape[1] == metadata["action_chunk_size"], actions.shape
        rows.append(row(images, state, prompt, actions))
    wrong = policy.predict_action({"examples": [{"image": images[:1], "lang": prompt, "state": state}]})
    assert wrong["error"]["code"] == "E-CONTRACT-001", wrong
    policy.close()
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
