"""What a checkpoint costs the training that goes on beside it: one process, plain engine, AdamW, about 0.6 GB of state.

In each round every way saves the same state once: ours, `torch.save` and `safetensors` with fsync while the training
waits, and PyTorch's own asynchronous checkpoint; before them, the same bytes are copied in memory. Behind each save
the training goes on for some steps, whose slowing is counted as well. `python -m benchmarks.checkpoint --json FILE`.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict_saver import async_save

from benchmarks.report import arguments_of, middle, tell
from benchmarks.step_overhead import episodes
from jobs.recipes import recipe
from volano.embodiment.shipped import SHIPPED
from volano.model.folder import weights
from volano.model.policy import Batch, Policy
from volano.model.prompt import train_tokenizer
from volano.storage.files import sync_file
from volano.train.build import build_engine
from volano.train.config import EngineConfig, OptimizerConfig
from volano.train.dataset import fit_codecs
from volano.train.engine import Engine, computing
from volano.train.feed import Feed
from volano.train.writer import AVERAGE, CheckpointWriter

_INTERVAL_S = 60.0
"""From one checkpoint to the next, against which a stall is held; a long run has ten times more."""
_STEPS = 6
"""Steps behind each save; by then the writing is over."""
_OPTIMIZER = OptimizerConfig(clip=1.0)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """One save."""

    stall_s: float
    """How long the training stood still."""
    slowed_s: float
    """How much longer than usual the steps behind it took, together."""


class Training:
    """A network large enough that copying it is not noise, its engine, and one batch."""

    def __init__(self) -> None:
        base, data = recipe("nano").model, episodes()
        backbone = replace(
            base.backbone, width=512, layers=6, heads=8, key_value_heads=2, head_width=64, mlp_width=1536
        )
        backbone = replace(backbone, rope_sections=(12, 10, 10))
        expert = replace(base.expert, width=512, blocks=6, heads=8, mlp_width=1536, rope_sections=(12, 10, 10))
        model = replace(base, backbone=backbone, expert=expert)
        tokenizer = train_tokenizer(
            SHIPPED.values(), {one.instruction for items in data.values() for one in items}, 700
        )
        torch.manual_seed(0)
        self.policy = Policy(model, tokenizer, fit_codecs(data, SHIPPED, model))
        self._stage = recipe("nano").stages[-1]
        self._config = EngineConfig(kind="plain")
        feed = Feed(data, self.policy.codecs, shares={}, batch=4, images=True, seed=0)
        self._batch: Batch = self.policy.batch(feed.samples(0, 0, 1))
        self.engine: Engine = build_engine(self.policy, _OPTIMIZER, self._config, batch=4, frozen=())
        self.average = {name: tensor.detach().clone() for name, tensor in weights(self.policy).items()}
        self.policy.train()
        self.step()

    def step(self) -> float:
        """Forward, backward and update; its seconds."""
        begun = time.perf_counter()
        with computing(self._config):
            loss = self.policy.loss(self._batch, self._stage.tau, torch.Generator().manual_seed(0)).mean()
            self.engine.backward(loss, last=True)
            self.engine.update(1.0)
        return time.perf_counter() - begun

    def states(self) -> dict[str, object]:
        """All that a checkpoint holds, by file."""
        return {**self.engine.states(), AVERAGE: self.average}


class Ways:
    """The ways to save; each returns what waits for its end."""

    def __init__(self, training: Training, folder: Path) -> None:
        self._training, self._folder = training, folder
        self._writer = CheckpointWriter(folder / "ours")
        self._number = 0
        self._memory: list[tuple[Tensor, Tensor]] = [(t, t.detach().clone()) for t in tensors(training.states())]

    @property
    def bytes(self) -> int:
        """Of the state."""
        return sum(copied.nbytes for _, copied in self._memory)

    @torch.no_grad()
    def memory(self) -> Callable[[], object]:
        """The limit: the same bytes, copied into memory that is there."""
        for tensor, copied in self._memory:
            copied.copy_(tensor)
        return lambda: None

    def ours(self) -> Callable[[], object]:
        """The library's writer."""
        self._number += 1
        self._writer.save(self._training.states, stage=0, step=self._number, layout="plain adamw")
        return self._writer.finish

    def waiting(self) -> Callable[[], object]:
        """`torch.save` and `safetensors`, fsynced, while the training waits; nothing is hashed."""
        for name, state in self._training.states().items():
            path = self._folder / name
            if path.suffix == ".safetensors":
                save_file(self._training.average, path)
            else:
                torch.save(state, path)
            sync_file(path)
        return lambda: None

    def torch_async(self) -> Callable[[], object]:
        """PyTorch's distributed checkpoint, asynchronous."""
        states = dict(self._training.states())
        place = self._folder / "dcp"
        future: Any = async_save(states, checkpoint_id=place)
        return future.result  # type: ignore[no-any-return]


def tensors(tree: object) -> list[Tensor]:
    """Every tensor of a tree."""
    if isinstance(tree, Tensor):
        return [tree]
    items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [found for item in items for found in tensors(item)]


def save(training: Training, way: Callable[[], Callable[[], object]], usual: float) -> Saved:
    """Save once and go on; `usual`: seconds of an undisturbed step."""
    os.sync()  # what an earlier way left to be written is not this one's
    begun = time.perf_counter()
    wait = way()
    stall = time.perf_counter() - begun
    slowed = sum(training.step() for _ in range(_STEPS)) - _STEPS * usual
    wait()
    return Saved(stall_s=stall, slowed_s=slowed)


def measure(rounds: int) -> tuple[dict[str, list[Saved]], int]:
    """Every way's saves, and the bytes of one."""
    training = Training()
    with tempfile.TemporaryDirectory() as scratch:
        ways = Ways(training, Path(scratch))
        known = {"memory": ways.memory, "ours": ways.ours, "waiting": ways.waiting, "torch_async": ways.torch_async}
        found: dict[str, list[Saved]] = {name: [] for name in known}
        for number in range(rounds + 1):
            for name in list(known)[:: 1 if number % 2 else -1]:
                usual = float(np.median([training.step() for _ in range(_STEPS)]))
                saved = save(training, known[name], usual)
                if number:  # the first time memory is asked for and files are made
                    found[name].append(saved)
        return found, ways.bytes


def results(found: dict[str, list[Saved]]) -> list[dict[str, object]]:
    """The stall over each reference, and the share of an interval that is lost."""
    ours = [one.stall_s for one in found["ours"]]
    rows: list[dict[str, object]] = []
    for name, title, must, aim in (
        ("memory", "a copy in memory", None, 1.2),
        ("waiting", "torch.save, synchronous", 0.2, 0.05),
        ("torch_async", "torch.distributed.checkpoint.async_save", None, None),
    ):
        reference = [one.stall_s for one in found[name]]
        ratio, low, high = middle([a / b for a, b in zip(ours, reference, strict=True)])
        row = {"metric": "stall", "ours": float(np.median(ours)), "reference": float(np.median(reference)), "unit": "s"}
        rows.append(
            {**row, "reference_name": title, "ratio": ratio, "low": low, "high": high, "must": must, "aim": aim}
        )
    for metric, lost in (
        (f"stall as a share of {_INTERVAL_S:g} s", ours),
        (f"stall and slower steps as a share of {_INTERVAL_S:g} s", [a.stall_s + a.slowed_s for a in found["ours"]]),
    ):
        ratio, low, high = middle([one / _INTERVAL_S for one in lost])
        rows.append({"metric": metric, "ratio": ratio, "low": low, "high": high, "must": 0.03, "aim": 0.01})
    return [{**row, "n": len(ours), "better": "lower"} for row in rows]


def main() -> None:
    """Measure in this process."""
    arguments = arguments_of(__doc__, "within a minute or two").parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as meeting:
        torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}/here", rank=0, world_size=1)
        found, size = measure(2 if arguments.quick else 10)
    torch.distributed.destroy_process_group()
    rows = results(found)
    tell("checkpoint", arguments.json, quick=arguments.quick, rows=rows, bytes=size)


if __name__ == "__main__":
    main()
