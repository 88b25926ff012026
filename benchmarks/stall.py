"""How long a training waits for its pictures when they are brought 1.2 times as fast as it takes them.

The library's loop with a tiny policy, its pictures through Ray Data from a folder, in both orders. How fast they are
brought is measured first; then every step is drawn out until it takes samples at that rate over 1.2. A drawn-out step
waits for its data as any other. `python -m benchmarks.stall --json FILE [--quick] [--turns N] [--films FOLDER]`.
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.reading import PACKAGES, Stream, cluster, films_and_peers
from benchmarks.recorded import Recorded, Shape, kept
from benchmarks.report import Row, tell, without
from tests.unit.model.tiny import tiny_model
from volano.data.order import OrderKind
from volano.model.policy import Policy
from volano.model.prompt import train_tokenizer
from volano.train.config import EngineConfig, RunConfig, StageConfig
from volano.train.loop import train
from volano.train.stage import Worker

_BATCH, _OVER, _WARM = 16, 1.2, 10
_MUST, _AIM = 0.02, 0.01


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    shape: Shape
    pairs: int
    steps: int


FULL = Size(shape=Shape(episodes=48, ticks=150, cameras=2), pairs=5, steps=240)
QUICK = Size(shape=Shape(episodes=8, ticks=90, cameras=2), pairs=1, steps=70)


def supplied(recorded: Recorded, order: OrderKind, steps: int) -> float:
    """Steps a second, as fast as they are brought."""
    at: list[float] = []
    Stream(recorded, recorded.url, order, _BATCH).read(range(steps), lambda _step: at.append(time.perf_counter()))
    return (len(at) - 1 - _WARM) / (at[-1] - at[_WARM])


def waited(recorded: Recorded, order: OrderKind, steps: int, step_s: float, scratch: Path) -> float:
    """Share of the time that a training of such steps waits."""
    stream, waits, at = Stream(recorded, recorded.url, order, _BATCH), list[float](), list[float]()

    def note(_step: int, metrics: Mapping[str, float]) -> None:
        waits.append(metrics["data_wait_share"] * metrics["step_s"])
        if at:
            time.sleep(max(0.0, at[-1] + step_s - time.perf_counter()))
        at.append(time.perf_counter())

    model = tiny_model(horizon=recorded.robot.horizon)
    episodes = recorded.episodes(stream.shown)
    words = {one.instruction for items in episodes.values() for one in items}
    policy = Policy(model, train_tokenizer([recorded.robot], words, model.backbone.vocabulary), recorded.codecs())
    stage = StageConfig(name="sft", steps=steps, batch=_BATCH, images=True, tau="beta_clean", order=order)
    run = RunConfig(
        recipe="stall",
        model=model,
        stages=(stage,),
        engine=EngineConfig(kind="plain"),
        checkpoint_every=10**9,
        log_every=1,
    )
    train(policy, episodes, run, scratch, Worker(record=note), supply=stream.supply)
    return sum(waits[_WARM + 1 :]) / (at[-1] - at[_WARM])


def measured(recorded: Recorded, order: OrderKind, size: Size, scratch: Path) -> Row:
    """The share of each turn, and their median."""
    shares: list[float] = []
    rates: list[float] = []
    for number in range(size.pairs):
        rates.append(supplied(recorded, order, size.steps))
        place = scratch / f"{order}-{number}"
        shares.append(waited(recorded, order, size.steps, _OVER / rates[-1], place))
    return {
        "metric": f"share of a training that waits for data at {_OVER} times supply ({order})",
        "ours": float(np.median(rates)) * _BATCH,
        "unit": "share; `ours` is the supply, samples a second",
        "ratio": float(np.median(shares)),
        "low": min(shares),
        "high": max(shares),
        "n": len(shares),
        "better": "lower",
        "must": _MUST,
        "aim": _AIM,
    }


def main() -> None:
    """Measure, write, print."""
    arguments = films_and_peers(__doc__, "about a minute").parse_args()
    size = QUICK if arguments.quick else FULL
    size = replace(size, pairs=arguments.turns or size.pairs)
    recorded = kept(arguments.films, size.shape)
    with cluster(), tempfile.TemporaryDirectory() as place:
        orders: tuple[OrderKind, ...] = ("uniform", "blocks")
        found = [measured(recorded, order, size, Path(place)) for order in orders]
    found.append(without("the same in LeRobot's training", "its training was not run beside ours"))
    tell("stall", arguments.json, quick=arguments.quick, rows=found, packages=PACKAGES)


if __name__ == "__main__":
    main()
