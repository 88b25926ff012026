"""A run killed with -9 goes on with any other number of workers: no sample is lost or seen twice, and the loss agrees.

Compared with an undisturbed run of one process without DeepSpeed, so that sharding, weighting and conversion are all
in it. A batch of six does not divide by four workers.
"""

import json
import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.integration import train_elastic, workers
from tests.integration.train_elastic import PLACES, SUCCEEDED, policy_of
from tests.unit.model.tiny import tiny_backbone, tiny_model
from tests.unit.train.test_loop import MUON, RUN, STAGES
from volano.model.config import BackboneFamily
from volano.model.folder import weights
from volano.train.config import EngineConfig, LoraConfig, OptimizerConfig, RunConfig
from volano.train.feed import Feed
from volano.train.loop import train
from volano.train.stage import Worker

pytestmark = pytest.mark.slow
ADAMW = OptimizerConfig(expert_rate=2e-3)
_BATCH, _STEPS = 6, (2, 8)
Place = tuple[str, int, int]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one worker did in one step of one launch."""

    launch: int
    world: int
    step: int
    loss: float
    samples: list[Place]


def run_with(engine: EngineConfig, optimizer: OptimizerConfig, passes: int = 1) -> RunConfig:
    stages = [
        replace(stage, batch=_BATCH, steps=steps, optimizer=optimizer, passes=passes)
        for stage, steps in zip(STAGES, _STEPS, strict=True)
    ]
    return replace(RUN, stages=tuple(stages), engine=engine)


def launch(output: Path, run: RunConfig, number: int, launched: int, kill: tuple[int, int] = (-1, -1)) -> list[int]:
    """Train with a number of processes; their exit codes. `launched` counts the starts, `kill` names a step and a
    rank."""
    output.mkdir(exist_ok=True)
    said = output / f"said-{launched}.txt"
    return workers.run(train_elastic.main, output, run, launched, kill, workers=number, said=said)


def well(output: Path, run: RunConfig, number: int, launched: int) -> None:
    """The same, to the end."""
    codes = launch(output, run, number, launched)
    assert not any(codes), (output / f"said-{launched}.txt").read_text()


def batches(run: RunConfig) -> list[Counter[Place]]:
    """What each step of the run is to consume."""
    codecs = policy_of(run).codecs
    found = []
    for number, stage in enumerate(run.stages):
        feed = Feed(SUCCEEDED, codecs, shares={}, batch=stage.batch, images=False, seed=run.seed * 1000 + number)
        for step in range(stage.steps):
            samples = feed.samples(step, 0, 1)
            found.append(Counter(PLACES[sample.embodiment, sample.state.tobytes()] for sample in samples))
    return found


def recorded(output: Path) -> list[list[Part]]:
    """By launch and step, what those workers recorded that lived to."""
    found: dict[tuple[int, int], list[Part]] = {}
    for path in output.glob("rank-*.jsonl"):
        for line in map(json.loads, path.read_text().splitlines()):
            part = Part(**{**line, "samples": [tuple(place) for place in line["samples"]]})
            found.setdefault((part.launch, part.step), []).append(part)
    return [parts for _, parts in sorted(found.items())]


def plain(output: Path, run: RunConfig) -> tuple[dict[int, float], dict[str, torch.Tensor]]:
    """Losses and weights of an undisturbed run of one process without DeepSpeed."""
    losses: dict[int, float] = {}
    policy = policy_of(run)
    worker = Worker(record=lambda step, metrics: losses.update({step: metrics["loss"]}))
    train(policy, SUCCEEDED, replace(run, engine=EngineConfig(kind="plain")), output, worker)
    return losses, weights(policy)


@pytest.mark.parametrize(
    ("engine", "optimizer", "sizes", "tolerance"),
    [
        (EngineConfig(zero_stage=1), ADAMW, (4, 2, 3, 1, 2), 1e-4),
        (EngineConfig(zero_stage=2), ADAMW, (4, 2, 2, 3, 1), 1e-4),
        (EngineConfig(zero_stage=3, whole_below=0), ADAMW, (4, 2, 3, 1, 2), 1e-4),
        (EngineConfig(zero_stage=1), MUON, (4, 2, 3, 1, 2), 1e-3),
        (EngineConfig(zero_stage=3, whole_below=64), MUON, (4, 2, 3, 1, 2), 1e-3),
        (EngineConfig(zero_stage=2, offload=True), MUON, (2, 3, 1), 1e-3),
        (EngineConfig(zero_stage=3, offload=True, recompute=True), ADAMW, (1, 3, 2), 1e-4),
        (EngineConfig(zero_stage=0), ADAMW, (2, 1), 1e-4),
    ],
    ids=["zero-1", "zero-2", "zero-3", "muon-1", "muon-3", "muon-2-offload", "zero-3-offload", "zero-0"],
)
def test_any_number_of_workers_goes_on(
    tmp_path: Path, engine: EngineConfig, optimizer: OptimizerConfig, sizes: Sequence[int], tolerance: float
) -> None:
    run = run_with(engine, optimizer, passes=2 if 2 * max(sizes) <= _BATCH else 1)
    random.seed(str((engine, optimizer)))
    kills = sorted(random.sample(range(3, sum(_STEPS)), len(sizes) - 1))
    output = tmp_path / "run"
    for launched, (number, step) in enumerate(zip(sizes, kills, strict=False)):
        rank = random.randrange(number)
        codes = launch(output, run, number, launched, (step, rank))
        assert codes[rank] == -signal.SIGKILL, (output / f"said-{launched}.txt").read_text()
    well(output, run, sizes[-1], len(sizes) - 1)

    expected = batches(run)
    losses: dict[int, float] = {}
    for parts in recorded(output):
        if len(parts) < parts[0].world:
            continue  # somebody was killed behind it
        step = parts[0].step
        assert Counter(place for part in parts for place in part.samples) == expected[step]
        losses[step] = sum(len(part.samples) * part.loss for part in parts) / _BATCH
    assert sorted(losses) == list(range(sum(_STEPS)))

    undisturbed, whole = plain(tmp_path / "plain", run)
    for step, loss in undisturbed.items():
        assert losses[step] == pytest.approx(loss, rel=tolerance), step
    for rank in range(sizes[-1]):
        assert_close(output / f"weights-{rank}.safetensors", whole, 10 * tolerance)


def assert_close(path: Path, whole: dict[str, torch.Tensor], tolerance: float) -> None:
    ended = load_file(path)
    assert ended.keys() == whole.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(ended[name], tensor, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("engine", "optimizer"),
    [
        (EngineConfig(zero_stage=2, offload=True), MUON),
        (EngineConfig(zero_stage=3, whole_below=0), MUON),
        (EngineConfig(zero_stage=3, whole_below=0, offload=True), ADAMW),
    ],
    ids=["muon-2-offload", "muon-3", "zero-3-offload"],
)
def test_the_same_number_of_workers_goes_on_bit_equal(
    tmp_path: Path, engine: EngineConfig, optimizer: OptimizerConfig
) -> None:
    run = run_with(engine, optimizer)
    well(tmp_path / "whole", run, 2, 0)
    assert launch(tmp_path / "killed", run, 2, 0, (7, 1))[1] == -signal.SIGKILL
    well(tmp_path / "killed", run, 2, 1)
    for rank in range(2):
        whole, killed = (load_file(tmp_path / name / f"weights-{rank}.safetensors") for name in ("whole", "killed"))
        assert whole.keys() == killed.keys()
        assert all(torch.equal(tensor, killed[name]) for name, tensor in whole.items())


@pytest.mark.parametrize(("family", "rank"), [("qwen3_5", 0), ("qwen3_vl", 2), ("qwen2_5_vl", 0)])
def test_zero_three_trains_what_one_process_trains(tmp_path: Path, family: BackboneFamily, rank: int) -> None:
    """With a frozen backbone, questions, adapters and episodes held out."""
    run = run_with(EngineConfig(zero_stage=3, whole_below=0), ADAMW)
    asking = replace(run.stages[1], vl_batch=0 if rank else 3, steps=3)
    run = replace(
        run,
        model=tiny_model(backbone=tiny_backbone(family)),
        stages=(run.stages[0], asking),
        lora=LoraConfig(rank=rank),
        held_out=0.4,
    )
    output = tmp_path / "run"
    well(output, run, 2, 0)
    _, whole = plain(tmp_path / "plain", run)
    assert_close(output / "weights-0.safetensors", whole, 1e-3)
