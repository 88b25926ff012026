"""What cannot be drawn, and what has no statistics, is refused by name before anything starts."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.recipes import RECIPES, recipe
from jobs.train import run
from jobs.train_request import TrainRequest
from tests.unit.train.test_mixture import CORPUS, RUN, T2A, fresh
from volano.config import apply, load_json, to_json
from volano.data.language_action.arms import PANDA
from volano.data.language_action.embodiments import embodiment_of
from volano.data.version import DatasetVersion, commit
from volano.embodiment.contract import Camera
from volano.embodiment.shipped import SHIPPED
from volano.errors import ContractError, PolicyError, TrainError, VolanoError
from volano.model.folder import save
from volano.model.policy import Policy
from volano.storage.open import open_store
from volano.train.config import CorpusConfig, RunConfig
from volano.train.sets import check_sets, family_shares, other_versions, rows_by_set

ROBOTS = {tag: SHIPPED[tag] for tag in ("sawyer", "scout")}


def with_mixture(**mixture: float) -> RunConfig:
    return replace(RUN, stages=(replace(T2A, mixture=mixture),))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (with_mixture(episodes=0.8, language_acton=0.2), "did you mean 'language_action'"),
        (with_mixture(episodes=0.8, **{"version:abc": 0.2}), "there are: episodes, language_action, version:ID"),
        (with_mixture(episodes=1.0, language_action=-0.2), "no negative share"),
        (with_mixture(episodes=0.97, language_action=0.03), "no row of 1 is left"),
        (replace(RUN, corpus=replace(CORPUS, trajectories=0)), "set corpus.trajectories"),
        (replace(RUN, corpus=replace(CORPUS, arms=("panda", "ur5"))), "did you mean 'ur5e'"),
        (replace(RUN, corpus=replace(CORPUS, families={"pul": 1.0})), "did you mean 'pull'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(config: RunConfig, says: str) -> None:
    with pytest.raises(TrainError, match="E-TRAIN-006") as caught:
        check_sets(config, ROBOTS, None)
    assert says in str(caught.value)


def test_an_arm_that_is_also_a_robot_is_refused_until_it_is_left_out() -> None:
    robots = {**ROBOTS, "panda": embodiment_of(PANDA)}
    with pytest.raises(TrainError, match=r"E-TRAIN-006.*'panda'"):
        check_sets(RUN, robots, None)
    check_sets(replace(RUN, corpus=replace(CORPUS, arms=("ur5e", "gen3"))), robots, None)


def test_pictures_that_are_no_whole_number_of_tokens_are_refused() -> None:
    odd = replace(SHIPPED["sawyer"], cameras=(Camera(name="wrist", height=72, width=128),))
    with pytest.raises(ContractError, match=r"E-CONTRACT-001.*wrist of 72 x 128"):
        check_sets(RUN, {**ROBOTS, "sawyer": odd}, None)
    blind = replace(RUN, stages=tuple(replace(stage, images=False, vl_batch=0) for stage in RUN.stages))
    check_sets(blind, {**ROBOTS, "sawyer": odd}, None)


def test_arms_that_do_not_fit_the_model_are_refused() -> None:
    with pytest.raises(ContractError, match="E-CONTRACT-001"):
        check_sets(replace(RUN, model=replace(RUN.model, channels=6)), ROBOTS, None)


def test_a_parent_needs_statistics_of_all_that_is_drawn(tmp_path: Path) -> None:
    policy = fresh()
    save(policy, tmp_path)
    check_sets(RUN, ROBOTS, tmp_path)
    with pytest.raises(ContractError, match=r"E-CONTRACT-002.*'car'"):
        check_sets(RUN, {**ROBOTS, "car": SHIPPED["car"]}, tmp_path)
    with pytest.raises(ContractError, match=r"E-CONTRACT-001.*'scout'"):
        check_sets(RUN, {**ROBOTS, "scout": replace(SHIPPED["scout"], rate_hz=3.0)}, tmp_path)
    blind = Policy(policy.config, policy.tokenizer, policy.codecs)
    (tmp_path / "text_only.json").unlink()
    save(blind, tmp_path)
    with pytest.raises(ContractError, match=r"E-CONTRACT-002.*'gen3'"):
        check_sets(RUN, ROBOTS, tmp_path)
    check_sets(replace(RUN, stages=RUN.stages[-1:]), ROBOTS, tmp_path)
    (tmp_path / "statistics.json").write_text("[]")
    with pytest.raises(PolicyError, match="E-POLICY-001"):
        check_sets(RUN, ROBOTS, tmp_path)


def test_a_share_for_a_robot_that_is_not_there_is_refused() -> None:
    stage = replace(RUN.stages[-1], shares={"scout": 1.0, "car": 0.5})
    with pytest.raises(TrainError, match=r"E-TRAIN-006.*'car'.*\n.*shares.car=0"):
        check_sets(replace(RUN, stages=(stage,)), ROBOTS, None)
    check_sets(replace(RUN, stages=(replace(stage, shares={"scout": 1.0, "car": 0.0}),)), ROBOTS, None)


def test_a_robot_with_more_channels_than_the_model_is_refused() -> None:
    narrow = replace(RUN, model=replace(RUN.model, channels=1), corpus=CorpusConfig())
    with pytest.raises(ContractError, match="E-CONTRACT-001"):
        check_sets(replace(narrow, stages=RUN.stages[-1:]), ROBOTS, None)


def test_other_versions_are_of_the_same_contracts_and_have_a_share() -> None:
    named = f"version:{'a' * 64}"
    config = replace(with_mixture(episodes=0.5, **{named: 0.5}), corpus=CorpusConfig())
    others = {"a" * 64: {"scout": SHIPPED["scout"]}}
    assert other_versions(stage.mixture for stage in config.stages) == ("a" * 64,)
    assert other_versions([{named: 0.0}]) == ()
    check_sets(config, ROBOTS, None, others)
    with pytest.raises(ContractError, match=r"E-CONTRACT-001.*another contract of 'scout'"):
        check_sets(config, ROBOTS, None, {"a" * 64: {"scout": replace(SHIPPED["scout"], rate_hz=3.0)}})
    [stage] = config.stages
    with pytest.raises(TrainError, match=r"E-TRAIN-006.*no share for a robot there: scout"):
        check_sets(replace(config, stages=(replace(stage, shares={"sawyer": 1.0}),)), ROBOTS, None, others)
    with_car = {"a" * 64: {"car": SHIPPED["car"]}}
    check_sets(replace(config, stages=(replace(stage, shares={"car": 1.0, "scout": 1.0}),)), ROBOTS, None, with_car)


def test_a_command_refuses_before_any_worker_starts(tmp_path: Path) -> None:
    """No cluster is asked for anything, and no folder is left behind."""
    store = open_store(str(tmp_path / "store"))
    version = DatasetVersion(parent="", reason="test", episodes=(), embodiments=ROBOTS, files={})
    (tmp_path / "empty").mkdir()
    commit(store, tmp_path / "empty", version)
    for name, says in (
        ("dreams", r"E-TRAIN-006.*'dreams'"),
        (f"version:{'0' * 64}", "E-DATA-013"),
        (f"version:{version.id}", r"E-TRAIN-006.*own version"),
    ):
        request = TrainRequest(
            recipe="nano_t2a",
            overrides=(f"stages.0.mixture.{name}=0.1",),
            store=store.url,
            version=version.id,
            output=str(tmp_path / "run"),
        )
        with pytest.raises(VolanoError, match=says):
            run(request)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_can_be_drawn_and_saved(name: str) -> None:
    config = recipe(name)
    check_sets(config, SHIPPED, None)
    assert load_json(RunConfig, to_json(config)) == config


def test_a_share_of_nothing_takes_a_set_or_a_family_out() -> None:
    assert rows_by_set(replace(T2A, mixture={"episodes": 0.8, "language_action": 0.0})) == {"episodes": 40}
    assert family_shares(replace(CORPUS, families={"push": 0.0, "pull": 2.0})) == {"pull": 2.0}
    assert len(family_shares(CORPUS)) == 6


def test_text_to_action_has_a_fifth_of_synthetic_rows() -> None:
    for name in ("nano_t2a", "nano_stages", "qwen_vla_4b"):
        t2a = recipe(name).stages[0]
        assert not t2a.images
        assert rows_by_set(t2a)["language_action"] / t2a.batch == pytest.approx(0.2, abs=1 / t2a.batch)
    assert [stage.name for stage in recipe("qwen_vla_4b").stages] == ["t2a", "cpt", "sft"]
    assert [stage.name for stage in recipe("nano_stages").stages] == ["t2a", "cpt", "sft"]


def test_the_shares_are_data() -> None:
    changed = apply(recipe("nano_t2a"), ["stages.0.mixture.language_action=0.4", "corpus.families={push: 1, pull: 2}"])
    assert rows_by_set(changed.stages[0])["language_action"] == 43
    check_sets(changed, SHIPPED, None)
