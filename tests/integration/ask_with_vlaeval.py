"""Runs in an environment with vla-eval's own client, without Volano: asks a gateway and says what went out and came in.

python ask_with_vlaeval.py PORT KEY CALLS EPISODES FORMAT ...
Images go in each of the formats (raw, png, jpeg), in turn.
"""

import json
import sys
from typing import Any

import anyio
from vla_eval.connection import Connection
from vla_eval.protocol.numpy_codec import set_image_format

from tests.integration.asked import NAMES, perceived, row


async def main() -> None:
    """Ask one after another over one connection, within episodes that begin and end."""
    port, key, calls, episodes, *formats = sys.argv[1:]
    rows: list[Any] = []
    share = int(calls) // int(episodes)
    async with Connection(f"ws://127.0.0.1:{port}/vlaeval?key={key}") as connection:
        assert connection.server_info["protocol_version"] == 1, connection.server_info
        for number in range(int(calls)):
            if number % share == 0:
                await connection.start_episode({"task": {"name": "pick up the cup"}})
            images, state, _ = perceived(number, int(calls), int(episodes))
            set_image_format(formats[number % len(formats)])
            reply = await connection.act(
                {
                    "images": dict(zip(NAMES, images, strict=True)),
                    "task_description": "pick up the cup",
                    "states": state,
                    "controller_states": state,
                }
            )
            rows.append(row(images, state, "pick up the cup", reply["actions"]))
            if number % share == share - 1:
                await connection.end_episode({"metrics": {"success": True}, "steps": share})
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    anyio.run(main)
