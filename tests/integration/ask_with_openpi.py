"""Runs in the environment of openpi's own client, without Volano: asks a gateway and says what went out and came in.

python ask_with_openpi.py PORT_OR_URL KEY CALLS EPISODES
"""

import json
import sys

from openpi_client.websocket_client_policy import WebsocketClientPolicy

from tests.integration.asked import NAMES, perceived, row


def main() -> None:
    """Ask one after another over one connection; another prompt is another episode."""
    place, key, calls, episodes = sys.argv[1:]
    where = ("127.0.0.1", int(place)) if place.isdigit() else (place,)
    policy = WebsocketClientPolicy(*where, api_key=key)
    rows = []
    for number in range(int(calls)):
        images, state, prompt = perceived(number, int(calls), int(episodes))
        observation = {f"observation/{name}": image for name, image in zip(NAMES, images, strict=True)}
        reply = policy.infer({**observation, "observation/state": state, "prompt": prompt})
        rows.append(row(images, state, prompt, reply["actions"]))
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
