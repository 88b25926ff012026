"""Synthetic motions and real episodes stand in every batch at the stage's shares, whoever draws it and when."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.model.tiny import tiny_model
from tests.unit.train.test_loop import EPISODES, Killed
from volano.data.language_action.words import FAMILIES
from volano.embodiment.shipped import SHIPPED
from volano.errors import TrainError
from volano.model.config import ModelConfig
from volano.model.folder import load, save, weights
from volano.model.policy import Policy, Sample
from volano.train.config import CorpusConfig, EngineConfig, RunConfig, StageConfig
from volano.train.corpus import make_corpus
from volano.train.dataset import fit_codecs, new_policy
from volano.train.feed import Feed
from volano.train.loop import train
from volano.train.mixture import Mixture, mixture
from volano.train.parts import BACKBONE
from volano.train.stage import Worker

MIX = {"episodes": 0.8, "language_action": 0.2}
CORPUS = CorpusConfig(trajectories=72)
MODEL = tiny_model()
MODEL = replace(MODEL, backbone=replace(MODEL.backbone, vocabulary=800))
MADE = make_corpus(CORPUS, MODEL)
assert MADE is not None
ROBOTS = {tag: SHIPPED[tag] for tag in EPISODES}
POLICY = new_policy(EPISODES, ROBOTS, MODEL, MADE, fit_codecs(EPISODES, ROBOTS, MODEL))
T2A = StageConfig(
    name="t2a", steps=4, batch=40, images=False, frozen=BACKBONE, tau="logit_normal", mixture=MIX
)  # fmt: skip


def mixed(stage: StageConfig = T2A, corpus: CorpusConfig = CORPUS, seed: int = 0) -> Mixture:
    return mixture(POLICY, EPISODES, MADE, stage, corpus, seed, {})


def key(sample: Sample) -> tuple[str, str, bytes]:
    assert sample.target is not None
    return sample.embodiment, sample.instruction, sample.target.tobytes()


@settings(max_examples=40, deadline=None)
@given(step=st.integers(0, 500), world=st.integers(1, 7), seed=st.integers(0, 9))
def test_workers_share_the_batch_of_one(step: int, world: int, seed: int) -> None:
    feed = mixed(seed=seed)
    alone = [key(one) for one in feed.samples(step, 0, 1)]
    shared = [[key(one) for one in feed.samples(step, rank, world)] for rank in range(world)]
    assert [shared[number % world][number // world] for number in range(len(alone))] == alone
    assert alone == [key(one) for one in mixed(seed=seed).samples(step, 0, 1)]


def test_seed_and_step_change_the_batch() -> None:
    batches = [
        [key(one) for one in mixed(seed=seed).samples(step, 0, 1)] for seed, step in ((0, 0), (0, 1), (1, 0))
    ]  # fmt: skip
    assert batches[0] != batches[1] != batches[2] != batches[0]


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0.05, 0.95), batch=st.integers(124, 400), step=st.integers(0, 100))
def test_every_batch_has_the_stages_shares(share: float, batch: int, step: int) -> None:
    stage = replace(T2A, batch=batch, mixture={"episodes": 1 - share, "language_action": share})
    feed = mixed(stage)
    samples, said = feed.samples(step, 0, 1), feed.proportions(step)
    synthetic = [one for one in samples if one.embodiment in POLICY.text_codecs]
    assert len(samples) == batch
    assert abs(len(synthetic) - share * batch) < 1
    assert said["share_set_language_action"] == len(synthetic) / batch
    assert said["share_set_episodes"] == (batch - len(synthetic)) / batch
    counted = Counter({name: said[f"share_family_{name}"] for name in FAMILIES})
    assert sum(counted.values()) == pytest.approx(1)
    assert all(abs(value - 1 / 6) * len(synthetic) < 1 for value in counted.values())


def test_families_have_the_corpus_shares() -> None:
    shares = {"push": 3.0, "swap": 1.0}
    corpus = make_corpus(replace(CORPUS, families=shares), MODEL)
    assert corpus is not None
    assert {one.family for one in corpus.motions} == set(shares)
    stage = replace(T2A, batch=80, mixture={"language_action": 1.0})
    feed = mixture(POLICY, EPISODES, corpus, stage, replace(CORPUS, families=shares), 0, {})
    said = feed.proportions(3)
    assert said == {"share_set_language_action": 1.0, "share_family_push": 0.75, "share_family_swap": 0.25}


def test_an_epoch_sees_every_tick_of_a_family_once() -> None:
    assert MADE is not None
    ticks = sum(len(one.demonstration.action) for one in MADE.motions if one.family == "push")
    stage = replace(T2A, batch=7, mixture={"language_action": 1.0})
    feed = mixture(POLICY, EPISODES, MADE, stage, replace(CORPUS, families={"push": 1.0}), 0, {})
    steps = -(-ticks // 7)
    picks = [pick for step in range(steps) for pick in feed._parts["language_action"].picks(step)]
    assert len(set(picks[:ticks])) == ticks


def test_a_synthetic_sample_is_the_motion_in_the_arms_own_units() -> None:
    assert MADE is not None
    rows = {(one.arm, one.demonstration.instruction): one.demonstration for one in MADE.motions}
    seen = set()
    for sample in mixed(replace(T2A, images=True)).samples(0, 0, 1):
        if sample.embodiment not in POLICY.text_codecs:
            assert sample.images
            continue
        motion, codec = rows[sample.embodiment, sample.instruction], POLICY.codec(sample.embodiment)
        tick = int(np.flatnonzero((motion.state == sample.state).all(axis=1))[0])
        wanted = codec.action.normalize(motion.action[tick : tick + 8])
        assert sample.images == ()
        assert sample.target is not None
        assert sample.mask is not None
        np.testing.assert_array_equal(sample.target[: len(wanted), :7], wanted)
        assert sample.mask.sum() == wanted.size
        seen.add(sample.embodiment)
    assert len(seen) > 2


def test_episodes_alone_are_drawn_as_without_a_mixture() -> None:
    """A stage that names no set has the batches it always had."""
    plain = Feed(EPISODES, POLICY.codecs, shares={}, batch=40, images=False, seed=5)
    feed = mixed(replace(T2A, mixture={}), seed=5)
    for step in range(3):
        assert [key(one) for one in feed.samples(step, 1, 2)] == [key(one) for one in plain.samples(step, 1, 2)]
        assert feed.proportions(step) == {}


def test_a_mixture_without_its_corpus_is_refused() -> None:
    with pytest.raises(TrainError, match="E-TRAIN-006"):
        mixture(POLICY, EPISODES, None, T2A, CORPUS, 0, {})


OTHER = "a" * 64
OLD = {"scout": [replace(one, instruction="in the other version") for one in EPISODES["scout"]]}
VERSIONS = {"episodes": 0.7, f"version:{OTHER}": 0.3}


def of_versions(**changes: Any) -> Mixture:
    stage = replace(T2A, **{"mixture": VERSIONS, "batch": 20, **changes})
    return mixture(POLICY, EPISODES, None, stage, CORPUS, 0, {OTHER: OLD})


@given(step=st.integers(0, 50), world=st.integers(1, 5))
def test_versions_have_their_shares_whoever_draws(step: int, world: int) -> None:
    feed = of_versions()
    samples = feed.samples(step, 0, 1)
    old = [one for one in samples if one.instruction == "in the other version"]
    assert (len(samples), len(old), {one.embodiment for one in old}) == (20, 6, {"scout"})
    assert feed.proportions(step) == {"share_set_episodes": 0.7, "share_set_version_aaaaaaaaaaaa": 0.3}
    shared = [[key(one) for one in feed.samples(step, rank, world)] for rank in range(world)]
    assert [shared[number % world][number // world] for number in range(20)] == [key(one) for one in samples]


def test_shares_of_robots_hold_within_each_version() -> None:
    drawn = Counter(
        (one.embodiment, one.instruction == "in the other version")
        for one in of_versions(shares={"sawyer": 6.0, "scout": 1.0}).samples(0, 0, 1)
    )
    assert (drawn["scout", True], drawn["sawyer", False] + drawn["scout", False]) == (6, 14)
    assert drawn["sawyer", False] > 9
    with pytest.raises(TrainError, match=r"E-TRAIN-006.*no share for a robot there: scout"):
        of_versions(shares={"sawyer": 1.0})


def test_a_version_that_was_not_read_is_refused() -> None:
    stage = replace(T2A, mixture={"episodes": 0.5, f"version:{'b' * 64}": 0.5})
    with pytest.raises(TrainError, match="E-TRAIN-006"):
        mixture(POLICY, EPISODES, None, stage, CORPUS, 0, {OTHER: OLD})


def fresh(model: ModelConfig = MODEL) -> Policy:
    torch.manual_seed(0)
    return new_policy(EPISODES, ROBOTS, model, MADE, fit_codecs(EPISODES, ROBOTS, model))


SFT = StageConfig(name="sft", steps=2, batch=4, images=True, tau="beta_clean")
RUN = RunConfig(
    recipe="tiny",
    model=MODEL,
    stages=(T2A, replace(SFT, name="cpt", mixture=MIX, batch=30), SFT),
    corpus=CORPUS,
    engine=EngineConfig(kind="plain"),
    checkpoint_every=2,
    log_every=1,
)


def trained(folder: Path, kill_at: int | None = None) -> tuple[Policy, dict[int, dict[str, float]]]:
    journal: dict[int, dict[str, float]] = {}

    def record(step: int, metrics: object) -> None:
        if step == kill_at:
            raise Killed
        assert isinstance(metrics, dict)
        journal[step] = metrics

    policy = fresh()
    try:
        train(policy, EPISODES, RUN, folder, Worker(record=record), MADE)
    except Killed:
        return trained(folder)
    return policy, journal


def test_a_killed_run_goes_on_bit_equal_and_the_journal_says_what_was_mixed(tmp_path: Path) -> None:
    whole, journal = trained(tmp_path / "whole")
    resumed, _ = trained(tmp_path / "killed", kill_at=3)
    for (name, one), other in zip(weights(whole).items(), weights(resumed).values(), strict=True):
        assert np.array_equal(one.numpy(), other.numpy()), name
    assert journal[0]["share_set_language_action"] == 8 / 40
    assert journal[0]["share_family_swap"] in (1 / 8, 2 / 8)
    assert journal[4]["share_set_language_action"] == 6 / 30
    assert not [name for name in journal[6] if name.startswith(("share_set", "share_family", "loss_panda"))]


def test_a_run_learns_from_other_versions_and_says_so(tmp_path: Path) -> None:
    journal: dict[int, Any] = {}
    stages = (replace(SFT, mixture=VERSIONS, batch=10),)
    run = replace(RUN, stages=stages, corpus=CorpusConfig(), held_out=0.3)
    train(fresh(), EPISODES, run, tmp_path, Worker(record=journal.__setitem__), None, {OTHER: OLD})
    assert journal[0]["share_set_version_aaaaaaaaaaaa"] == 0.3
    assert journal[0]["share_scout"] > journal[0]["share_sawyer"] > 0


def test_the_arms_statistics_travel_with_the_weights_and_are_not_served(tmp_path: Path) -> None:
    policy = fresh()
    save(policy, tmp_path)
    again = load(tmp_path)
    assert again.text_codecs == policy.text_codecs
    assert set(again.codecs) == set(EPISODES)
    assert set(again.text_codecs) == {"panda", "ur10e", "ur5e", "gen3", "tm12", "xarm7"}
    assert len({codec.action.q99 for codec in again.text_codecs.values()}) == 6
