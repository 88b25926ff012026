"""What serving adds to a policy: one robot, 452 kB an observation, a policy that answers at once.

    python -m benchmarks.serving_latency --json FILE [--quick]

A robot's call is packed, sent, answered and unpacked by the same client code, round by round before every server in
turn. Ours is compared with a stand-in for openpi's reference server, with Ray Serve's WebSocket through its default
proxy, and with Ray Serve behind HAProxy. The limit is what the same bytes cost over a bare socket.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection

from benchmarks.report import Row, arguments_of, compared, in_words, write_report
from benchmarks.served import ask, observation, served, talk
from benchmarks.served_by_ray import served_by_ray
from benchmarks.socket_floor import socket_floor

_SERVERS = ("ours", "twin", "serve", "serve_haproxy", "socket")


def calls(connection: ClientConnection, message: Mapping[str, Any], count: int) -> NDArray[np.float64]:
    """Milliseconds of so many calls."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        ask(connection, message)
        found.append((time.perf_counter() - began) * 1e3)
    return np.array(found)


def measure(rounds: int, count: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of every call: (rounds, count) for each server."""
    message = observation()
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _SERVERS}
    with ExitStack() as stack:
        connections = {name: talk(stack.enter_context(served(name, 0.0)), "robot") for name in ("ours", "twin")}
        for name, haproxy in (("serve", False), ("serve_haproxy", True)):
            port = stack.enter_context(served_by_ray(haproxy))
            connections[name] = talk(port, "robot", "/robot")
        floor = stack.enter_context(socket_floor(sum(one.nbytes for one in message.values() if hasattr(one, "nbytes"))))
        for connection in connections.values():
            calls(connection, message, 50)
        for _ in range(rounds):
            for name, connection in connections.items():
                found[name].append(calls(connection, message, count))
            found["socket"].append(floor(count))
    return {name: np.array(values) for name, values in found.items()}


def rows_of(found: Mapping[str, NDArray[np.float64]]) -> list[Row]:
    """Medians of rounds against each other, and ours at the 99th percentile."""
    rows = []
    halves = {name: np.median(values, axis=1) for name, values in found.items()}
    for name, words, must, aim in (
        ("twin", "openpi's protocol twin", 1.5, 1.0),
        ("serve", "Ray Serve WebSocket, default proxy", 0.3, 0.15),
        ("serve_haproxy", "Ray Serve WebSocket, HAProxy", 1.5, 1.0),
        ("socket", "bare socket, same bytes", None, None),
    ):
        rows.append(compared("p50", halves["ours"], halves[name], words, unit="ms", better="lower", must=must, aim=aim))
    late = {name: np.quantile(values, 0.99, axis=1) for name, values in found.items()}
    rows.append(
        compared("p99", late["ours"], late["twin"], "openpi's protocol twin", unit="ms", better="lower", must=1.5)
    )
    return rows


def main() -> None:
    """The command line."""
    options = arguments_of(__doc__, "a minute").parse_args()
    found = measure(rounds=5 if options.quick else 20, count=60 if options.quick else 200)
    rows = rows_of(found)
    write_report("serving_latency", options.json, quick=options.quick, rows=rows, packages=("ray", "websockets"))
    for row in rows:
        print(f"{in_words(row)}; {row['ours']:.2f} over {row['reference']:.2f} ms")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
