"""How much of the processor's arithmetic a training step turns into learning, and what padding would cost.

Forward, backward and AdamW on one core in fp32, per CPU-second: operations of real tokens (never of padding) over the
rate of a plain matrix product, and over the same training by padded batches through stock layers. All take turns, on
the same samples and weights. `python -m benchmarks.compute_efficiency --json FILE [--quick]`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import workload
from benchmarks.padded import PaddedBatch, PaddedTwin
from benchmarks.report import Row, arguments_of, compared, tell
from volano.model.flow import sample_tau
from volano.model.policy import Batch
from volano.model.products import linear
from volano.train.config import EngineConfig
from volano.train.engine import computing

_SIDE = 2048
"""Of the matrices whose product is the limit."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    widths: tuple[int, ...]
    pairs: int
    batch: int


FULL, QUICK = Size(widths=(512, 1024), pairs=7, batch=16), Size(widths=(512,), pairs=2, batch=6)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """CPU-seconds of one batch each way, its useful operations, and that moment's limits in operations a second."""

    packed: float
    padded: float
    useful: float
    sgemm: float
    fastest: float
    real: float
    """Share of the padded batch that is no padding."""


def seconds(work: Callable[[], object]) -> float:
    """CPU-seconds, of all threads."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


class Trained:
    """Ours and the twin from the same weights, each with its own optimizer."""

    def __init__(self, width: int, batch: int) -> None:
        self._ours, self._batch = workload.policy(workload.model(width)), batch
        self._twin = PaddedTwin(self._ours)
        self._optimizers = [
            torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True) for network in (self._ours, self._twin)
        ]

    def turn(self, number: int) -> Turn:
        """One batch, both ways; who is first takes turns."""
        drawn = workload.samples(self._ours, self._batch, number)
        packed = self._ours.batch(drawn)
        padded = self._twin.batch(packed)
        noise, tau = drawn_for(packed, number)
        ways = (lambda: self._packed(packed, number), lambda: self._padded(padded, noise, tau))
        times = {way: seconds(ways[way]) for way in ((0, 1) if number % 2 else (1, 0))}
        lengths = packed.prompted.packing.lengths
        ordered = [drawn[place] for place in packed.order.tolist()]
        return Turn(
            packed=times[0],
            padded=times[1],
            useful=workload.useful(self._ours, ordered, lengths),
            sgemm=rate(torch.mm),
            fastest=max(rate(torch.mm), rate(linear)),
            real=sum(lengths) / (len(lengths) * max(lengths)),
        )

    def check(self, number: int) -> None:
        """Both answer the same losses; raises SystemExit when they do not."""
        packed = self._ours.batch(workload.samples(self._ours, self._batch, number))
        noise, tau = drawn_for(packed, number)
        with computing(EngineConfig()), torch.no_grad():
            ours = self._ours.loss(packed, "beta_noisy", torch.Generator().manual_seed(number))[packed.order]
            twin = self._twin.loss(self._twin.batch(packed), noise, tau)
        worst = float((ours - twin).abs().max())
        if worst > 1e-4:
            raise SystemExit(f"packed and padded losses differ by {worst}")

    def _packed(self, batch: Batch, seed: int) -> None:
        with computing(EngineConfig()):
            self._ours.loss(batch, "beta_noisy", torch.Generator().manual_seed(seed)).mean().backward()
        self._step(0)

    def _padded(self, batch: PaddedBatch, noise: Tensor, tau: Tensor) -> None:
        with computing(EngineConfig()):
            self._twin.loss(batch, noise, tau).mean().backward()
        self._step(1)

    def _step(self, who: int) -> None:
        self._optimizers[who].step()
        self._optimizers[who].zero_grad(set_to_none=True)


def drawn_for(batch: Batch, seed: int) -> tuple[Tensor, Tensor]:
    """The noise and tau that our loss draws, in the batch's order."""
    generator, count = torch.Generator().manual_seed(seed), len(batch.order)
    noise = torch.randn(count, workload.ROWS, workload.CHANNELS, generator=generator)
    return noise[batch.order], sample_tau("beta_noisy", count, generator)[batch.order]


def rate(product: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Operations per CPU-second of one product of square matrices, the best of three."""
    left, right = torch.randn(_SIDE, _SIDE), torch.randn(_SIDE, _SIDE)
    return 2 * _SIDE**3 / min(seconds(lambda: product(left, right)) for _ in range(3))


def results(width: int, turns: Sequence[Turn]) -> list[dict[str, object]]:
    """Ratios of each turn, their median and interval."""
    rates = np.array([turn.useful / turn.packed for turn in turns])
    mixed = f"hidden {width}, {np.mean([turn.real for turn in turns]):.0%} of a padded batch real"
    rows = [
        (f"useful arithmetic of a step ({mixed})", rates, [t.sgemm for t in turns], "torch.mm, 2048^3", 0.6, 0.75),
        (f"the same over the fastest fp32 product ({mixed})", rates, [t.fastest for t in turns], "oneDNN", None, None),
        (
            f"training over padded batches ({mixed})",
            rates,
            [t.useful / t.padded for t in turns],
            "padded batches through stock transformers layers",
            1.3,
            1.8,
        ),
    ]
    return [_result(*row) for row in rows]


def _result(
    metric: str,
    ours: NDArray[np.float64],
    reference: Sequence[float],
    name: str,
    must: float | None,
    aim: float | None,
) -> Row:
    unit, limit = "useful GFLOP per CPU-second", np.array(reference) / 1e9
    return compared(metric, ours / 1e9, limit, name, unit=unit, better="higher", must=must, aim=aim)


def main() -> None:
    """Measure, write, print."""
    arguments = arguments_of(__doc__, "within a minute").parse_args()
    torch.set_num_threads(1)
    size = QUICK if arguments.quick else FULL
    found: list[Row] = []
    for width in size.widths:
        trained = Trained(width, size.batch)
        trained.check(0)
        trained.turn(0)
        found += results(width, [trained.turn(number) for number in range(1, size.pairs + 1)])
    tell("compute_efficiency", arguments.json, quick=arguments.quick, rows=found, packages=["torch"])


if __name__ == "__main__":
    main()
