"""What a robot waits for beyond its policy: the nano policy through gateway and replica, over its forward pass alone.

    python -m benchmarks.serving_overhead --json FILE [--quick]

The same observation is answered in this process, and by the same network behind a replica's door and a gateway, in
turn; each on one thread. What is told is the difference of the medians of each round.
"""

import time

import numpy as np

from benchmarks.report import Row, arguments_of, in_words, middle, write_report
from benchmarks.served import served, talk
from benchmarks.served_nano import nano_policy, sawyer_observation
from benchmarks.serving_latency import calls
from serving.work import answer, read
from volano.embodiment.shipped import SAWYER
from volano.inference.session import IDENTITY


def measure(rounds: int, count: int) -> tuple[list[float], list[float]]:
    """Median milliseconds of each round: through the gateway, and in this process."""
    policy, message = nano_policy(), sawyer_observation()
    work = read(SAWYER, {**message, IDENTITY: {"robot": "", "episode": "", "tick": 0}})
    through, alone = [], []
    with served("nano", 0.0) as port, talk(port, "robot") as connection:
        calls(connection, message, count)
        for _ in range(rounds):
            through.append(float(np.median(calls(connection, message, count))))
            times = []
            for _ in range(count):
                began = time.perf_counter()
                answer(policy, [work])
                times.append((time.perf_counter() - began) * 1e3)
            alone.append(float(np.median(times)))
    return through, alone


def main() -> None:
    """The command line."""
    options = arguments_of(__doc__, "half a minute").parse_args()
    through, alone = measure(*((5, 40) if options.quick else (20, 100)))
    more, low, high = middle(np.array(through) - np.array(alone))
    row: Row = {
        "metric": "p50 over the forward pass in process, ms",
        "ours": float(np.median(through)),
        "reference": float(np.median(alone)),
        "reference_name": "",
        "unit": "ms",
        "ratio": more,
        "low": low,
        "high": high,
        "n": len(through),
        "better": "lower",
        "must": 2.0,
        "aim": 1.0,
    }
    write_report("serving_overhead", options.json, quick=options.quick, rows=[row], packages=("torch", "websockets"))
    print(f"{in_words(row)}; {row['ours']:.2f} over {row['reference']:.2f} ms")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
