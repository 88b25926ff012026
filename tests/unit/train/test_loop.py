"""A run that is killed and goes on ends bit-equal to one that was not; checkpoints are believed only when whole."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.model.tiny import tiny_model, tiny_policy
from volano.embodiment.shipped import SHIPPED
from volano.errors import ConfigError, TrainError
from volano.model.folder import weights
from volano.model.policy import Policy
from volano.train.checkpoint import newest
from volano.train.config import EngineConfig, OptimizerConfig, RunConfig, StageConfig
from volano.train.feed import Demonstration
from volano.train.loop import train
from volano.train.parts import BACKBONE
from volano.train.stage import Worker

STAGES = (
    StageConfig(name="t2a", steps=3, batch=4, images=False, frozen=BACKBONE, tau="logit_normal"),
    StageConfig(name="sft", steps=5, batch=4, images=True, tau="beta_clean"),
)
RUN = RunConfig(
    recipe="tiny", model=tiny_model(), stages=STAGES, engine=EngineConfig(kind="plain"), checkpoint_every=2, log_every=1
)


def demonstrations(tag: str, ticks: int = 12) -> list[Demonstration]:
    """Two random episodes of a robot."""
    robot = SHIPPED[tag]
    episodes = []
    for seed in range(2):
        random = np.random.default_rng(seed)
        episodes.append(
            Demonstration(
                instruction="open the door",
                images=(random.integers(0, 256, (ticks, 64, 64, 3)).astype(np.uint8),),
                state=random.uniform(-1, 1, (ticks, len(robot.state))).astype(np.float32),
                action=random.uniform(-1, 1, (ticks, len(robot.action))).astype(np.float32),
                kinds=np.full(ticks, "intervention"),
                succeeded=False,
            )
        )
    return episodes


EPISODES = {"sawyer": demonstrations("sawyer"), "scout": demonstrations("scout")}
ASKING_RUN = replace(RUN, stages=(STAGES[0], replace(STAGES[1], vl_batch=2)))
"""Asks about pictures, too; its episodes have to have succeeded."""


class Killed(Exception):
    """What the tests interrupt a run with."""


def trained(folder: Path, run: RunConfig = RUN, kill_at: int | None = None) -> tuple[Policy, dict[int, float]]:
    """Train to the end or to the step at which it is killed; the losses by step of the run."""
    losses: dict[int, float] = {}

    def record(step: int, metrics: object) -> None:
        if step == kill_at:
            raise Killed
        assert isinstance(metrics, dict)
        losses[step] = metrics["loss"]

    policy = tiny_policy()
    episodes = {tag: [replace(item, succeeded=True) for item in items] for tag, items in EPISODES.items()}
    with contextlib.suppress(Killed):
        train(policy, episodes if run is ASKING_RUN else EPISODES, run, folder, Worker(record=record))
    return policy, losses


MUON = OptimizerConfig(kind="muon", clip=0.0)
MUON_RUN = replace(RUN, stages=tuple(replace(stage, optimizer=MUON) for stage in STAGES))


@pytest.mark.parametrize(
    ("run", "kill_at"), [*((RUN, kill_at) for kill_at in (1, 2, 3, 6)), (MUON_RUN, 2), (MUON_RUN, 6), (ASKING_RUN, 5)]
)
def test_a_killed_run_goes_on_bit_equal(tmp_path: Path, run: RunConfig, kill_at: int) -> None:
    whole, losses = trained(tmp_path / "whole", run)
    _, before = trained(tmp_path / "killed", run, kill_at)
    resumed, after = trained(tmp_path / "killed", run)
    assert {**before, **after} == losses
    assert min(after) >= kill_at - RUN.checkpoint_every
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_a_finished_run_started_again_trains_nothing(tmp_path: Path) -> None:
    whole, _ = trained(tmp_path)
    again, losses = trained(tmp_path)
    assert losses == {}
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(again).values(), strict=True))


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    trained(tmp_path, kill_at=7)
    last = newest(tmp_path)
    assert last is not None
    state = last.folder / "plain.pt"
    state.write_bytes(state.read_bytes()[:-1])
    older = newest(tmp_path)
    assert older is not None
    assert (older.stage, older.step) < (last.stage, last.step)


@pytest.mark.parametrize("optimizer", [OptimizerConfig(expert_rate=1e-2), MUON])
def test_the_loss_falls(tmp_path: Path, optimizer: OptimizerConfig) -> None:
    stage = replace(STAGES[0], steps=80, batch=16, optimizer=optimizer)
    _, losses = trained(tmp_path, replace(RUN, stages=(stage,), checkpoint_every=100))
    values = [loss for _, loss in sorted(losses.items())]
    assert np.mean(values[-10:]) < 0.8 * np.mean(values[:5])


def test_questions_have_a_loss_of_their_own_and_every_batch_says_what_it_held(tmp_path: Path) -> None:
    metrics: dict[int, Mapping[str, float]] = {}
    episodes = {tag: [replace(item, succeeded=True) for item in items] for tag, items in EPISODES.items()}
    worker = Worker(record=lambda step, found: metrics.update({step: found}))
    train(tiny_policy(), episodes, ASKING_RUN, tmp_path, worker)
    assert ["loss_vl" in metrics[step] for step in sorted(metrics)] == [False] * 3 + [True] * 5
    assert all(found["share_sawyer"] == found["share_scout"] == 0.5 for found in metrics.values())


def test_questions_to_a_frozen_backbone_are_refused(tmp_path: Path) -> None:
    asking = replace(RUN, stages=(replace(STAGES[0], vl_batch=2),))
    with pytest.raises(TrainError, match="E-TRAIN-003"):
        train(tiny_policy(), EPISODES, asking, tmp_path, Worker())


def test_several_passes_train_as_one_does(tmp_path: Path) -> None:
    """Batches, noise and questions are the same; so one pass and three differ by rounding alone."""
    stages = tuple(replace(stage, batch=7, vl_batch=4 if stage.images else 0) for stage in STAGES)
    shared = tuple(replace(stage, passes=3) for stage in stages)
    episodes = {tag: [replace(item, succeeded=True) for item in items] for tag, items in EPISODES.items()}
    found: list[tuple[Policy, list[Mapping[str, float]]]] = []
    for name, some in (("one", stages), ("three", shared)):
        policy, points = tiny_policy(), list[Mapping[str, float]]()

        def record(_step: int, point: Mapping[str, float], points: list[Mapping[str, float]] = points) -> None:
            points.append(point)

        train(policy, episodes, replace(RUN, stages=some), tmp_path / name, Worker(record=record))
        found.append((policy, points))
    (one, once), (three, thrice) = found
    for point, other in zip(once, thrice, strict=True):
        assert point["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert point["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-4)
        assert (point["share_scout"], point["loss_scout"]) == pytest.approx((other["share_scout"], other["loss_scout"]))
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(three)[name], atol=1e-5, rtol=1e-4)


def test_more_passes_than_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"E-TRAIN-003 .*in 5 passes"):
        trained(tmp_path, replace(RUN, stages=(replace(STAGES[0], passes=5),)))


def test_activations_made_again_train_the_same(tmp_path: Path) -> None:
    kept, _ = trained(tmp_path / "kept")
    again, _ = trained(tmp_path / "again", replace(RUN, engine=EngineConfig(kind="plain", recompute=True)))
    for name, tensor in weights(kept).items():
        torch.testing.assert_close(tensor, weights(again)[name], atol=1e-6, rtol=1e-5)


def test_muon_with_clipping_is_refused(tmp_path: Path) -> None:
    stage = replace(STAGES[0], optimizer=OptimizerConfig(kind="muon"))
    with pytest.raises(TrainError, match="clip to 0"):
        trained(tmp_path, replace(RUN, stages=(stage,)))


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, kill_at=6)
    with pytest.raises(TrainError, match=r"E-TRAIN-001 .*one of plain adamw, this run asks for plain muon"):
        trained(tmp_path, MUON_RUN)


def test_a_share_for_a_robot_without_data_is_refused(tmp_path: Path) -> None:
    stage = replace(STAGES[1], shares={"sawyer": 1.0, "car": 1.0})
    with pytest.raises(TrainError, match="E-TRAIN-003"):
        trained(tmp_path, replace(RUN, stages=(stage,)))


def test_recipes_build_and_unknown_ones_name_the_nearest() -> None:
    from jobs.recipes import RECIPES, recipe

    for name in RECIPES:
        assert recipe(name).recipe == name
    with pytest.raises(ConfigError, match="did you mean 'nano'"):
        recipe("nanno")
