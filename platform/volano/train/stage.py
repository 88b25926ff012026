"""The steps of one stage: batch, losses, update, moving average, journal, checkpoint.

Every random draw and every batch is a function of (seed, stage, step), whatever the number of workers.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from volano.errors import Code, TrainError
from volano.model.flow import Share
from volano.model.policy import Policy, Sample, TextSample
from volano.train.build import layout
from volano.train.config import RunConfig, StageConfig
from volano.train.corpus import Corpus
from volano.train.engine import Engine, computing
from volano.train.feed import Demonstration, Feed
from volano.train.film import Supply
from volano.train.finite import require_finite
from volano.train.held_out import open_loop_error
from volano.train.measure import Meter, Norms, Result, Timing
from volano.train.mixture import mixture
from volano.train.optim import rate_scale
from volano.train.parts import is_backbone_frozen
from volano.train.peak import Peak
from volano.train.shots import Shots
from volano.train.text import TextFeed
from volano.train.writer import AVERAGE, CheckpointWriter

logger = logging.getLogger(__name__)
_HELD_OUT = 64
"""Ticks of held-out episodes that are answered at a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """This process among the run's workers."""

    rank: int = 0
    world: int = 1
    barrier: Callable[[], None] = lambda: None
    record: Callable[[int, Mapping[str, float]], None] | None = None
    """Called on rank 0 with the step of the whole run and its metrics."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a run learns from, and what it is held against."""

    episodes: Mapping[str, Sequence[Demonstration]]
    held_out: Mapping[str, Sequence[Demonstration]]
    corpus: Corpus | None
    others: Mapping[str, Mapping[str, Sequence[Demonstration]]]
    """Episodes of other dataset versions to learn from, by identifier."""
    supply: Supply | None = None
    """Brings the pictures of episodes that do not hold them."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Of one pass, with their graphs."""

    actions: Tensor
    """Per sample, shape (B,)."""
    text: Tensor | None
    """Mean over its questions; None without any."""
    tokens: Tensor
    """Tokens of each sample that are not padding, shape (B,)."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass that is done."""

    result: Result
    waited: float
    """Seconds, for data."""


class Stage:
    """One stage on one worker, its engine loaded."""

    def __init__(
        self,
        policy: Policy,
        data: Data,
        run: RunConfig,
        number: int,
        engine: Engine,
        average: dict[str, Tensor],
        worker: Worker,
        writer: CheckpointWriter,
        peak: Peak,
    ) -> None:
        """`average`: this worker's slices of the moving average, changed in place; `peak`: what its device could do."""
        stage = run.stages[number]
        self._policy, self._run, self._number, self._stage = policy, run, number, stage
        self._engine, self._average, self._worker, self._writer = engine, average, worker, writer
        self._before = sum(earlier.steps for earlier in run.stages[:number])
        seed = run.seed * 1000 + number
        self._feed = mixture(policy, data.episodes, data.corpus, stage, run.corpus, seed, data.others)
        self._questions = _questions(policy, data.episodes, stage, seed)
        self._test: Feed | None = None
        if any(data.held_out.values()):
            self._test = Feed(
                data.held_out, policy.codecs, shares={}, batch=_HELD_OUT, images=stage.images, seed=run.seed
            )
        self._supply = data.supply
        self._meter = Meter(policy, stage, peak, world=worker.world)
        self._generator = torch.Generator()

    def run(self, done: int) -> None:
        """Every step after the first `done`. Raises TrainError: E-TRAIN-002 where loss or gradient is not finite, and
        E-TRAIN-007 where no checkpoint can be written."""
        self._policy.train()
        steps = range(done, self._stage.steps)
        with self._bringing(steps) as bring:
            for step in steps:
                self._writer.check()
                self._step(step, bring)

    def _bringing(self, steps: range) -> AbstractContextManager[Callable[[int], None]]:
        if self._supply is None:
            return nullcontext(lambda _step: None)
        questions = self._questions.frames() if self._questions is not None else None
        shots = Shots(
            learned=tuple(one for one in (self._feed.frames(), questions) if one is not None),
            tested=self._test.frames() if self._test is not None and self._worker.record is not None else None,
            rank=self._worker.rank,
            world=self._worker.world,
            passes=self._stage.passes,
            test_every=self._run.checkpoint_every,
            steps=self._stage.steps,
        )
        return self._supply.bringing(shots, steps)

    def _step(self, step: int, bring: Callable[[int], None]) -> None:
        run, stage, worker = self._run, self._stage, self._worker
        begun = time.perf_counter()
        bring(step)
        brought = time.perf_counter() - begun
        done = [self._pass(step, number) for number in range(stage.passes)]
        with computing(run.engine):
            norms = self._engine.update(rate_scale(step, stage.steps, stage.optimizer))
        result = _joined([one.result for one in done])
        self._require_finite(step, result, norms)
        _advance(self._average, self._engine.current(), _decay(run.average, self._before + step))
        waited = brought + sum(one.waited for one in done)
        self._meter.add(result, Timing(seconds=time.perf_counter() - begun, waited=waited))
        due = (step + 1) % run.checkpoint_every == 0 or step + 1 == stage.steps
        if due and self._test is not None:
            self._engine.show()
        if step % run.log_every == 0 or due:
            metrics = self._meter.measure(result, norms) | self._feed.proportions(step)
            metrics |= {f"learning_rate_{name}": rate for name, rate in self._engine.rates().items()}
            if worker.record is not None:
                if due and self._test is not None:
                    metrics |= open_loop_error(self._policy, self._test, step)
                worker.record(self._before + step, metrics)
        if due:
            self._checkpoint(step + 1)

    def _pass(self, step: int, number: int) -> Pass:
        """Forward and backward of one of the step's passes. It takes the samples, the noise and the questions that it
        would have were it a worker of its own: so what a step computes does not depend on how it is shared out."""
        stage, passes, workers = self._stage, self._stage.passes, self._worker.world
        share = Share(first=self._worker.rank + number * workers, every=workers * passes, total=stage.batch)
        begun = time.perf_counter()
        samples = self._feed.samples(step, share.first, share.every)
        asks = self._questions.samples(step, share.first, share.every) if self._questions is not None else []
        waited = time.perf_counter() - begun
        self._generator.manual_seed(_draw_seed(self._run.seed, self._number, step))
        with computing(self._run.engine):
            losses = self._engine.forward(partial(self._losses, samples, asks, share))
            loss = losses.actions.mean() * (len(samples) * workers / stage.batch)
            if losses.text is not None:
                loss = loss + stage.vl_weight * (len(asks) * workers / stage.vl_batch) * losses.text
            self._engine.backward(loss, last=number + 1 == passes)
        text = None if losses.text is None else losses.text.detach()[None]
        result = Result(samples=samples, losses=losses.actions.detach(), tokens=losses.tokens, text=text)
        return Pass(result=result, waited=waited)

    def _losses(self, samples: Sequence[Sample], asks: Sequence[TextSample], share: Share, network: Policy) -> Losses:
        stage, batch = self._stage, network.batch(samples)
        frozen = is_backbone_frozen(stage.frozen)
        actions = network.loss(batch, stage.tau, self._generator, freeze_backbone=frozen, share=share)
        text = network.text_loss(asks).mean() if asks else None
        return Losses(actions=actions, text=text, tokens=batch.tokens())

    def _require_finite(self, step: int, result: Result, norms: Norms) -> None:
        rank, world, passes = self._worker.rank, self._worker.world, self._stage.passes

        def origins() -> list[str]:
            return [
                origin
                for number in range(passes)
                for origin in self._feed.origins(step, rank + number * world, world * passes)
            ]

        where = f"step {step} in stage {self._stage.name!r}"
        require_finite(result.losses, origins, result.text, norms, where=where, world=world)

    def _checkpoint(self, step: int) -> None:
        def states() -> dict[str, object]:
            found = self._engine.states()
            whole = self._engine.gather(self._average)
            return {**found, AVERAGE: whole} if self._worker.rank == 0 else found

        written = layout(self._run.engine, self._stage)
        kept = self._writer.save(states, stage=self._number, step=step, layout=written)
        logger.info("checkpoint of stage %d, step %d: the training waited %.3f s", self._number, step, kept)


def _questions(
    policy: Policy, episodes: Mapping[str, Sequence[Demonstration]], stage: StageConfig, seed: int
) -> TextFeed | None:
    if not stage.vl_batch:
        return None
    if is_backbone_frozen(stage.frozen):
        raise TrainError(
            Code.TRAIN_DATA,
            f"stage {stage.name!r} asks questions of a backbone that does not learn",
            "set its vl_batch to 0, or train the backbone",
        )
    robots = {tag: codec.embodiment for tag, codec in policy.codecs.items()}
    return TextFeed(episodes, robots, batch=stage.vl_batch, seed=seed)


def _joined(passes: Sequence[Result]) -> Result:
    """What the passes of a step computed together."""
    asked = [one.text for one in passes if one.text is not None]
    return Result(
        samples=[sample for one in passes for sample in one.samples],
        losses=torch.cat([one.losses for one in passes]),
        tokens=torch.cat([one.tokens for one in passes]),
        text=torch.cat(asked) if asked else None,
    )


def _draw_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _decay(average: float, step: int) -> float:
    """Decay of the moving average: short memory at first, so that early weights are forgotten."""
    return min(average, (1 + step) / (10 + step))


@torch.no_grad()
def _advance(average: dict[str, Tensor], current: dict[str, Tensor], decay: float) -> None:
    torch._foreach_lerp_(list(average.values()), [current[name] for name in average], 1 - decay)
