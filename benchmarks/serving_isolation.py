"""What robots feel of each other: one whose policy thinks for two seconds, and two hundred who only hold a connection.

    python -m benchmarks.serving_isolation --json FILE [--quick]

Beside a request that takes two seconds, handshakes and health probes are timed, against the same when nobody asks. Two
robots stream, before and after two hundred others have connected and fallen silent; what these cost is the gateway's
memory.
"""

import http.client
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, arguments_of, compared, in_words, middle, write_report
from benchmarks.served import ask, listener, observation, served, talk
from benchmarks.serving_fleet import stream

_THINKS_S = 2.0
_IDLE = 200


def probe(port: int) -> float:
    """Milliseconds of a health probe."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    connection.close()
    return (time.perf_counter() - began) * 1e3


def shake(port: int) -> float:
    """Milliseconds of a handshake, greeting included."""
    began = time.perf_counter()
    with talk(port, "newcomer"):
        return (time.perf_counter() - began) * 1e3


def head_of_line(rounds: int) -> list[Row]:
    """Another's handshake and health probe while one robot waits for its policy."""
    found: dict[str, list[float]] = {"health probe": [], "handshake": []}
    with ExitStack() as stack:
        port = stack.enter_context(served("ours", _THINKS_S))
        robot = stack.enter_context(talk(port, "thinker"))
        for _ in range(rounds):
            thinking = threading.Thread(target=ask, args=(robot, observation()))
            thinking.start()
            time.sleep(0.1)
            until = time.perf_counter() + _THINKS_S - 0.5
            while time.perf_counter() < until:
                found["health probe"].append(probe(port))
                found["handshake"].append(shake(port))
            thinking.join()
    rows = []
    for name, values in found.items():
        late, low, high = quantile(np.array(values))
        row: Row = {"metric": f"p99 of a {name} beside a request of 2 s, ms", "ratio": late, "low": low, "high": high}
        rows.append({**row, "n": len(values), "better": "lower", "must": 20.0})
    return rows


def quantile(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The 99th percentile with its 95 % bootstrap interval."""
    random = np.random.default_rng(0)
    drawn = np.quantile(values[random.integers(len(values), size=(1000, len(values)))], 0.99, axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.quantile(values, 0.99)), float(low), float(high)


def idle_robots(rounds: int, seconds: float) -> list[Row]:
    """Two active robots with and without two hundred idle ones, and what an idle one holds of a gateway that never had
    as many: each round has a new one."""
    alone, beside, held = [], [], []
    for _ in range(rounds):
        with served("ours", 0.0) as port, ExitStack() as stack:
            gateway = listener(port)
            stream(port, 2, seconds)
            alone.append(_late(port, seconds))
            before = _private_bytes(gateway)
            for number in range(_IDLE):
                stack.enter_context(talk(port, f"idle-{number}"))
            held.append((_private_bytes(gateway) - before) / _IDLE / 2**20)
            beside.append(_late(port, seconds))
    memory, low, high = middle(held)
    row: Row = {"metric": "memory of an idle robot, MiB", "ratio": memory, "low": low, "high": high, "n": rounds}
    name = "p99 of two robots beside 200 idle ones"
    return [
        compared(name, beside, alone, "the two alone", unit="ms", better="lower", must=1.1),
        {**row, "better": "lower", "must": 1.0},
    ]


def _late(port: int, seconds: float) -> float:
    return float(np.quantile(np.concatenate(stream(port, 2, seconds)), 0.99) * 1e3)


def _private_bytes(process: int) -> int:
    """Memory that only this process holds."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def main() -> None:
    """The command line."""
    options = arguments_of(__doc__, "half a minute").parse_args()
    rows = head_of_line(2 if options.quick else 10)
    rows += idle_robots(*((2, 2.0) if options.quick else (10, 5.0)))
    write_report("serving_isolation", options.json, quick=options.quick, rows=rows, packages=("websockets",))
    for row in rows:
        print(in_words(row))
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
