"""What a training says of itself: one flat map of numbers per logged step, which the journal keeps.

Every worker adds each step, for a few microseconds; where a step is logged, all exchange one row of numbers, so that
losses and shares are those of the whole batch. Pace and operations are those of all steps since the one logged before.
"""

import math
import resource
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from volano.model.policy import Policy, Sample
from volano.train.activations import SampleShape
from volano.train.config import StageConfig
from volano.train.flops import flops
from volano.train.lora import is_adapted, is_adapter
from volano.train.parts import part_of
from volano.train.peak import Peak

_GB = 1e9
Pictures = tuple[int, int, int]
"""Images of a sample, and pixels of their height and width."""


@dataclass(frozen=True, kw_only=True)
class Norms:
    """Of a step's gradients, before clipping; under Muon with ZeRO those of the matrices are of what is applied."""

    parts: Mapping[str, float]
    """By part of the network; what is not finite is infinite or not a number."""

    @property
    def total(self) -> float:
        """Of all parts together."""
        return math.sqrt(sum(norm * norm for norm in self.parts.values()))


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One step on this worker."""

    seconds: float
    waited: float
    """Of these, for data."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a step computed on this worker."""

    samples: Sequence[Sample]
    losses: Tensor
    """Per sample, shape (B,)."""
    tokens: Tensor
    """Of each sample that are not padding, shape (B,)."""
    text: Tensor | None
    """Mean loss of each pass's questions; None without any."""


class Meter:
    """Measures the steps of one stage on one worker."""

    def __init__(self, policy: Policy, stage: StageConfig, peak: Peak, *, world: int = 1) -> None:
        """`peak`: what this worker's device could do."""
        self._policy, self._stage, self._peak, self._world = policy, stage, peak, world
        robots = {**policy.codecs, **policy.text_codecs}
        self._tasks = {tag: robots[tag].embodiment.family for tag in sorted(robots)}
        self._operations = _operations(policy, stage)
        self._since: list[tuple[Sequence[Pictures], Tensor, Timing]] = []

    def add(self, result: Result, timing: Timing) -> None:
        """One step."""
        self._since.append(([_pictures(one) for one in result.samples], result.tokens, timing))

    def measure(self, result: Result, norms: Norms) -> dict[str, float]:
        """Of the step that was added last, and of the pace since this was called before. Every worker calls it at the
        same steps, and all get the same but for times and memory, which are this worker's."""
        steps, seconds = len(self._since), sum(timing.seconds for _, _, timing in self._since)
        found = {
            **self._losses(result),
            "gradient_norm": norms.total,
            **{f"gradient_norm_{part}": norm for part, norm in norms.parts.items()},
            "samples_per_s": steps * self._stage.batch / seconds,
            "step_s": seconds / steps,
            "data_wait_share": sum(timing.waited for _, _, timing in self._since) / seconds,
            "mfu": sum(self._flops(*seen[:2]) for seen in self._since) / seconds / self._peak.flops_per_s,
            "peak_tflops": self._peak.flops_per_s / 1e12,
            "peak_is_measured": float(self._peak.measured),
            **_memory(),
        }
        self._since.clear()
        return found

    def _flops(self, pictures: Sequence[Pictures], tokens: Tensor) -> float:
        """Of this worker's samples, forward and backward; padding, questions and what is computed again count
        nothing."""
        kinds = Counter(zip(pictures, tokens.int().tolist(), strict=True))
        return sum(count * self._operations(seen, length) for (seen, length), count in kinds.items())

    def _losses(self, result: Result) -> dict[str, float]:
        """Of the whole batch, by robot and by task family; and the share of each."""
        sums, counts = dict.fromkeys(self._tasks, 0.0), dict.fromkeys(self._tasks, 0.0)
        for sample, loss in zip(result.samples, result.losses.detach().tolist(), strict=True):
            sums[sample.embodiment] += loss
            counts[sample.embodiment] += 1
        asked = [] if result.text is None else result.text.detach().tolist()
        row = self._over_workers(
            [*sums.values(), *counts.values(), sum(asked), float(len(asked))], result.losses.device
        )
        robots = len(self._tasks)
        found = {"loss": sum(row[:robots]) / sum(row[robots : 2 * robots])}
        by_task: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for (tag, task), total, count in zip(self._tasks.items(), row, row[robots : 2 * robots], strict=False):
            if count:
                found |= {f"loss_{tag}": total / count, f"share_{tag}": count / self._stage.batch}
                by_task[task].append((total, count))
        for name, pairs in sorted(by_task.items()):
            total, count = (sum(column) for column in zip(*pairs, strict=True))
            found |= {f"loss_task_{name}": total / count, f"share_task_{name}": count / self._stage.batch}
        return found | ({"loss_vl": row[-2] / row[-1]} if row[-1] else {})

    def _over_workers(self, row: Sequence[float], device: torch.device) -> list[float]:
        """The sum of every worker's row."""
        if self._world == 1:
            return list(row)
        total = torch.tensor(row, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(total)
        summed: list[float] = total.tolist()
        return summed


def _operations(policy: Policy, stage: StageConfig) -> Callable[[Pictures, int], float]:
    """Useful operations of a sample of such pictures and so many tokens, remembered."""
    language = sum(
        parameter.numel()
        for name, parameter in policy.named_parameters()
        if part_of(name) == "language" and parameter.ndim > 1 and not is_adapter(name)
    )
    adapted = is_adapted(policy)

    @cache
    def of_sample(pictures: Pictures, tokens: int) -> float:
        counted = flops(policy.config, shape_of(policy, pictures, tokens), language)
        return counted.trained(stage.frozen, adapted=adapted)

    return of_sample


def shape_of(policy: Policy, pictures: Pictures, tokens: int) -> SampleShape:
    """What a sample of so many tokens, those of images included, asks of the network."""
    images, height, width = pictures
    bare = SampleShape(images=images, image_height=height, image_width=width, prompt_tokens=0)
    return replace(bare, prompt_tokens=tokens - bare.tokens(policy.config.backbone.vision))


def _pictures(sample: Sample) -> Pictures:
    height, width = sample.images[0].shape[:2] if sample.images else (0, 0)
    return len(sample.images), height, width


def _memory() -> dict[str, float]:
    """The most that this process, and its CUDA device, have held so far, in GB of 10^9 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GB}
    if torch.cuda.is_available():
        found["cuda_memory_gb"] = torch.cuda.max_memory_allocated() / _GB
    return found
