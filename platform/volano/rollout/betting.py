"""Wealth of a gambler who bets against a hypothesis: the one piece of mathematics under every sequential test here.

If each increment x has mean <= 0 under the hypothesis, given what came before it, then for any fixed bet b with
1 + b x >= 0 the product of (1 + b x) is a non-negative supermartingale starting at 1, and so is its average over
bets. By Ville's inequality it *ever* reaches 1 / alpha with probability at most alpha: looking at every step is free.
Nothing else is assumed, neither equal rates in all strata nor rates that stay, nor independence within a block.
"""

import numpy as np
from numpy.typing import NDArray

_BETS = 24


def log_wealth(
    increments: NDArray[np.float64], *, largest_loss: float = 1.0, two_sided: bool = False
) -> NDArray[np.float64]:
    """Logarithm of the wealth after each increment, averaged over evenly spread bets (no tuning, no look-ahead).

    `increments` has shape (..., n), each at least `-largest_loss`, and at most `largest_loss` when `two_sided`, which
    also bets on negative means. The result has the same shape. It depends on the order of the increments only along
    the path: its last value is the same for every order, up to rounding.
    """
    points = (np.arange(_BETS) + 0.5) / _BETS
    bets = (2 * points - 1 if two_sided else points) / largest_loss
    logs = np.stack([np.cumsum(np.log1p(increments * bet), axis=-1) for bet in bets])
    peak = logs.max(axis=0)
    return np.asarray(peak + np.log(np.exp(logs - peak).mean(axis=0)), dtype=np.float64)
