"""What a fleet gets of one policy that takes 50 ms for up to 8: 1 to 64 robots that ask again once they are answered.

    python -m benchmarks.serving_fleet --json FILE [--quick]

Every robot sends 452 kB each time. Ours is compared with itself at one robot, and with a stand-in for openpi's
reference server, which answers one after the other, at 16 robots. The limit is the policy alone: eight chunks every
50 ms.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, arguments_of, compared, in_words, middle, write_report
from benchmarks.served import MOST, observation, served, talk
from volano.inference.protocols.arrays import pack

_POLICY_S = 0.05
_ROBOTS = (1, 8, 16, 32, 64)
_WARM_S = 0.5
_ON_TIME_S = 0.1
"""At eight robots: twice what a batch takes."""


def stream(port: int, robots: int, seconds: float) -> list[NDArray[np.float64]]:
    """For each robot the seconds that its answered requests took, of those that were answered within the time."""
    frame = pack(observation())
    found: list[list[float]] = [[] for _ in range(robots)]
    start = threading.Barrier(robots)

    def drive(robot: int) -> None:
        with talk(port, f"robot-{robot}") as connection:
            start.wait()
            begin = time.perf_counter() + _WARM_S
            while (asked := time.perf_counter()) < begin + seconds:
                connection.send(frame)
                reply = connection.recv(timeout=60, decode=False)
                if reply.startswith(b"E-"):
                    raise RuntimeError(reply.decode())
                if begin <= (now := time.perf_counter()) <= begin + seconds:
                    found[robot].append(now - asked)

    threads = [threading.Thread(target=drive, args=(robot,)) for robot in range(robots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [np.array(one) for one in found]


def jain(counts: Sequence[int]) -> float:
    """Jain's index of fairness: 1 when everybody got the same."""
    values = np.asarray(counts, float)
    return float(values.sum() ** 2 / (len(values) * np.square(values).sum()))


def measure(rounds: int, seconds: float) -> tuple[dict[int, list[list[NDArray[np.float64]]]], list[float]]:
    """By number of robots: for each round what every robot got; and the twin's chunks a second at 16 robots."""
    ours: dict[int, list[list[NDArray[np.float64]]]] = {robots: [] for robots in _ROBOTS}
    twin = []
    with ExitStack() as stack:
        own, other = (stack.enter_context(served(kind, _POLICY_S)) for kind in ("ours", "twin"))
        for number in range(rounds):
            for robots in _ROBOTS:
                ours[robots].append(stream(own, robots, seconds))
            twin.append(_rate(stream(other, 16, seconds), seconds))
            print(f"round {number + 1} of {rounds}", flush=True)
    return ours, twin


def _rate(took: Sequence[NDArray[np.float64]], seconds: float) -> float:
    """Chunks a second of all robots."""
    return sum(map(len, took)) / seconds


def rows_of(
    ours: Mapping[int, Sequence[Sequence[NDArray[np.float64]]]], twin: Sequence[float], seconds: float
) -> list[Row]:
    """What the benchmark says."""
    rates = {robots: [_rate(took, seconds) for took in rounds] for robots, rounds in ours.items()}
    on_time = [sum(int((one <= _ON_TIME_S).sum()) for one in took) / seconds for took in ours[8]]
    rows = [
        compared("on-time chunks/s at 8", on_time, rates[1], "one robot", unit="1/s", better="higher", must=6.0),
        compared("chunks/s at 16", rates[16], twin, "openpi's protocol twin", unit="1/s", better="higher", must=4.0),
    ]
    limit = [MOST / _POLICY_S] * len(on_time)
    for robots in _ROBOTS[1:]:
        name = f"chunks/s at {robots}"
        rows.append(compared(name, rates[robots], limit, "the policy alone", unit="1/s", better="higher"))
    for robots in _ROBOTS[1:]:
        fair, low, high = middle([jain([len(one) for one in took]) for took in ours[robots]])
        row: Row = {"metric": f"Jain's fairness at {robots}", "ratio": fair, "low": low, "high": high}
        rows.append({**row, "n": len(ours[robots]), "better": "higher", "must": 0.98})
    return rows


def main() -> None:
    """The command line."""
    options = arguments_of(__doc__, "half a minute").parse_args()
    rounds, seconds = (2, 2.0) if options.quick else (7, 6.0)
    rows = rows_of(*measure(rounds, seconds), seconds)
    write_report("serving_fleet", options.json, quick=options.quick, rows=rows, packages=("websockets",))
    for row in rows:
        print(in_words(row))
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
