"""A step whose loss or gradient is not finite ends the training on every worker, and says what it was computed from.

All workers learn of it in the same step, by one number that they add up: none is left waiting for another.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from volano.errors import Code, TrainError
from volano.train.measure import Norms

_TOLD = 8
"""Of the samples whose loss is not finite, so many are named."""


def require_finite(
    losses: Tensor, origins: Callable[[], Sequence[str]], text: Tensor | None, norms: Norms, *, where: str, world: int
) -> None:
    """Raises TrainError(E-TRAIN-002) on every worker when a loss on any of them, or the gradient, is not finite.

    `losses` and `text` are this worker's, of its samples and of its questions; `origins` names the samples; `norms`
    are those of the whole gradient, alike on every worker.
    """
    broken = not bool(losses.isfinite().all())
    asked = text is not None and not bool(text.isfinite().all())
    if not _any_worker(broken or asked or not math.isfinite(norms.total), losses.device, world):
        return
    fine = losses.isfinite().tolist() if broken else []
    here = ([origin for origin, good in zip(origins(), fine, strict=True) if not good] if broken else [], asked)
    told = _of_every_worker(here, world)
    named = [origin for found, _ in told for origin in found]
    if named or any(questions for _, questions in told):
        more = f" and {len(named) - _TOLD} more" if len(named) > _TOLD else ""
        raise TrainError(
            Code.TRAIN_NOT_FINITE,
            f"the loss of {where} is not finite: {'; '.join(named[:_TOLD]) or 'of questions alone'}{more}",
            "lower the learning rate if it is all of them; look at these episodes if it is few",
        )
    parts = [part for part, norm in norms.parts.items() if not math.isfinite(norm)]
    raise TrainError(
        Code.TRAIN_NOT_FINITE,
        f"the loss of {where} is finite and its gradient is not (parts: {', '.join(parts)})",
        "lower the learning rate of these, or compute in fp32; go on from the newest checkpoint",
    )


def _any_worker(here: bool, device: torch.device, world: int) -> bool:
    if world == 1:
        return here
    flag = torch.tensor([float(here)], device=device)
    torch.distributed.all_reduce(flag)
    return bool(flag.item())


def _of_every_worker(here: tuple[list[str], bool], world: int) -> list[tuple[list[str], bool]]:
    if world == 1:
        return [here]
    told = [here] * world
    torch.distributed.all_gather_object(told, here)
    return told
