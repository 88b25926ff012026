"""What our training loop costs beside the bare loop of the same engine: two workers, DeepSpeed ZeRO-1, gloo, CPU.

Both train the nano network on the same batches. The bare loop has them collated in memory and does nothing but forward,
backward and step; ours draws and collates its samples, averages weights, measures and journals, and a process beside it
brings the journal to MLflow. Blocks of steps take turns, and the ratio is of neighbouring blocks, in processor time
of rank 0, who has most to do and which other work on the machine does not change, and in time.
`python -m benchmarks.step_overhead --json FILE [--quick]`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from benchmarks.report import Row, arguments_of, compared, tell, without
from jobs.recipes import recipe
from jobs.track import following
from volano.embodiment.shipped import SHIPPED
from volano.model.policy import Batch, Policy
from volano.model.prompt import train_tokenizer
from volano.registry.tracking import local_uri
from volano.train.build import build_engine
from volano.train.config import RunConfig
from volano.train.dataset import fit_codecs
from volano.train.engine import computing
from volano.train.feed import Demonstration, Feed
from volano.train.journal import Journal
from volano.train.layout import JOURNAL, RUN
from volano.train.loop import train
from volano.train.stage import Worker

_MUST, _AIM = 1.03, 1.01
_FOLDER = "VOLANO_STEP_OVERHEAD_FOLDER"
_WARM = 10
"""Steps of a block before the clock starts; also the period of the journal."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Readings of this process."""

    wall: float
    cpu: float
    """Seconds, of all its threads."""

    @classmethod
    def read(cls) -> Self:
        """Now."""
        return cls(wall=time.perf_counter(), cpu=time.process_time())

    def per_step(self, begun: Self, steps: int) -> "Clock":
        """Seconds of each of `steps` steps since an earlier reading."""
        return Clock(wall=(self.wall - begun.wall) / steps, cpu=(self.cpu - begun.cpu) / steps)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    pairs: int
    steps: int
    """Timed steps of a block."""


FULL, QUICK = Size(pairs=12, steps=20), Size(pairs=3, steps=10)


def episodes() -> dict[str, list[Demonstration]]:
    """Noise of the shape of demonstrations: what a step costs does not depend on what is learned."""
    found = {}
    for tag, robot in SHIPPED.items():
        random = np.random.default_rng(len(tag))
        found[tag] = [
            Demonstration(
                instruction=f"do thing {number % 4}",
                images=tuple(
                    random.integers(0, 256, (40, camera.height, camera.width, 3)).astype(np.uint8)
                    for camera in robot.cameras
                ),
                state=random.uniform(-1, 1, (40, len(robot.state))).astype(np.float32),
                action=random.uniform(-1, 1, (40, len(robot.action))).astype(np.float32),
                kinds=np.full(40, "intervention"),
                succeeded=True,
            )
            for number in range(8)
        ]
    return found


def configured(steps: int) -> RunConfig:
    """The nano recipe's fine-tuning stage and nothing before it."""
    base = recipe("nano")
    return replace(base, stages=(replace(base.stages[-1], steps=steps),), checkpoint_every=10**9, log_every=_WARM)


def network(run: RunConfig, data: Mapping[str, Sequence[Demonstration]]) -> Policy:
    """The same weights for both."""
    tokenizer = train_tokenizer(SHIPPED.values(), {one.instruction for items in data.values() for one in items}, 700)
    torch.manual_seed(0)
    return Policy(run.model, tokenizer, fit_codecs(data, SHIPPED, run.model))


def ours(data: Mapping[str, Sequence[Demonstration]], size: Size, rank: int, folder: Path, number: int) -> Clock:
    """Seconds per step of the library's loop in block `number`, journal on; on rank 0 alone."""
    run, at = configured(_WARM + size.steps + 1), dict[int, Clock]()
    journal = Journal(folder / JOURNAL) if rank == 0 else None

    def record(step: int, metrics: Mapping[str, float]) -> None:
        if journal is not None:
            journal.append(number * 1000 + step, metrics)
        at[step] = Clock.read()

    worker = Worker(rank=rank, world=2, barrier=torch.distributed.barrier, record=record if rank == 0 else None)
    train(network(run, data), data, run, folder / f"checkpoints-{number}", worker)
    torch.distributed.barrier()
    return at[_WARM + size.steps].per_step(at[_WARM], size.steps) if rank == 0 else Clock.read()


class Bare:
    """A network, its engine, and a stock of collated batches."""

    def __init__(self, data: Mapping[str, Sequence[Demonstration]], size: Size, rank: int) -> None:
        run = configured(1)
        self._policy, self._stage, self._config = network(run, data), run.stages[0], run.engine
        feed = Feed(data, self._policy.codecs, shares=self._stage.shares, batch=64, images=True, seed=0)
        steps = range(_WARM + size.steps)
        self._batches: list[Batch] = [self._policy.batch(feed.samples(step, rank, 2)) for step in steps]
        engine = build_engine(self._policy, self._stage.optimizer, run.engine, batch=64, frozen=())
        self._engine: Any = engine._engine  # type: ignore[attr-defined] # DeepSpeed's own, without what ours adds
        self._policy.train()

    def block(self) -> Clock:
        """Seconds per step of forward, backward and step."""
        generator, begun = torch.Generator(), Clock.read()
        for number, batch in enumerate(self._batches):
            if number == _WARM:
                begun = Clock.read()
            generator.manual_seed(number)
            with computing(self._config):
                self._engine.backward(self._policy.loss(batch, self._stage.tau, generator).mean())
                self._engine.step()
        return Clock.read().per_step(begun, len(self._batches) - _WARM)


def measure(size: Size, folder: Path) -> list[tuple[Clock, Clock]]:
    """(ours, bare) seconds per step of each pair of blocks; who is first takes turns."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, data = torch.distributed.get_rank(), episodes()
    bare, pairs = Bare(data, size, rank), []
    for number in range(size.pairs):
        torch.distributed.barrier()
        if number % 2:
            second = bare.block()
            first = ours(data, size, rank, folder, number)
        else:
            first = ours(data, size, rank, folder, number)
            second = bare.block()
        torch.distributed.barrier()
        pairs.append((first, second))
    return pairs if rank == 0 else []


def rows_of(pairs: Sequence[tuple[Clock, Clock]]) -> list[Row]:
    """What was found, and what there is no figure of."""
    metric, name = "step of the training loop", "bare DeepSpeed ZeRO-1, batches collated in memory"
    kinds = {
        "processor time": [(ours.cpu, bare.cpu) for ours, bare in pairs],
        "time": [(ours.wall, bare.wall) for ours, bare in pairs],
    }
    found = []
    for what, both in kinds.items():
        ours, bare = np.array(both).T
        row = compared(f"{metric}, {what}", ours, bare, name, unit="s", better="lower", must=_MUST, aim=_AIM)
        found.append(row)
    reason = "the loop has no engine of DistributedDataParallel for several processes"
    return [*found, without(f"{metric} over DistributedDataParallel", reason)]


def start_workers() -> None:
    """Two, and beside them the process that brings the journal to MLflow."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        asked = {"config": {"recipe": "nano"}, "config_digest": "", "request": {"version": ""}}
        (folder / RUN).write_text(json.dumps(asked))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", _FOLDER: scratch}
        with following(folder, local_uri(folder)):
            subprocess.run([*command, "-m", "benchmarks.step_overhead", *sys.argv[1:]], env=environment, check=True)


def main() -> None:
    """Start two workers, or be one of them."""
    arguments = arguments_of(__doc__, "within a minute or two").parse_args()
    if "RANK" not in os.environ:
        start_workers()
    elif pairs := measure(QUICK if arguments.quick else FULL, Path(os.environ[_FOLDER])):
        rows = rows_of(pairs)
        tell("step_overhead", arguments.json, quick=arguments.quick, rows=rows, packages=["torch", "deepspeed"])


if __name__ == "__main__":
    main()
