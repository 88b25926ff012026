"""The way that a rollout's evidence took, block by block in canonical order: for people to look at.

The judge never needs it: it knows the last value of each path from sums. Here every outcome is gone through once more,
and the two agree to the ninth decimal.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import add

import numpy as np

from volano.rollout.betting import SHIFTS, log_average_of_wagers, log_wealth
from volano.rollout.evidence import Evidence
from volano.rollout.outcome import Outcome
from volano.rollout.tally import gain, intervention_growth

_DECIMALS = 9


@dataclass(frozen=True, kw_only=True)
class Paths:
    """A log e-value after each piece of evidence; the claims are those of `weights.Weights`."""

    superiority: tuple[float, ...]
    noninferiority: tuple[float, ...]
    harm: tuple[float, ...]
    floor: tuple[float, ...]
    interventions: tuple[float, ...]
    sample_ratio: tuple[float, ...]


def paths(evidence: Evidence) -> Paths:
    """Of every test that is always on."""
    blocks = list(evidence.ordered())
    usable = [block for block in blocks if block.usable]
    gains = np.array([gain(block.a, block.b) for block in usable], dtype=np.float64)
    pairs = [(block.a, block.b) for block in blocks if block.a is not None and block.b is not None]
    floor = evidence.document.guardrails.floor
    candidates = [block.b for block in blocks if block.b is not None]
    return Paths(
        superiority=_path(gains),
        noninferiority=_path(gains + evidence.document.margin),
        harm=_path([-gain(a, b) for a, b in pairs if a.success is not None]),
        floor=_path([floor - (one.success is True) for one in candidates], largest_loss=1.0 - floor),
        interventions=tuple(_of_interventions(pairs)),
        sample_ratio=_path(
            [1 if "B" in block.lost else -1 for block in blocks if len(block.lost) == 1], two_sided=True
        ),
    )


def _of_interventions(pairs: Iterable[tuple[Outcome, Outcome]]) -> Iterator[float]:
    sums = (0,) * len(SHIFTS)
    for a, b in pairs:
        if change := intervention_growth(a, b):
            sums = tuple(map(add, sums, change))
            yield round(log_average_of_wagers(sums, SHIFTS), _DECIMALS)


def _path(increments: Iterable[float], *, largest_loss: float = 1.0, two_sided: bool = False) -> tuple[float, ...]:
    values = log_wealth(np.array(list(increments), dtype=np.float64), largest_loss=largest_loss, two_sided=two_sided)
    return tuple(round(float(value), _DECIMALS) for value in values)
