"""The sets that a stage's mixture may name, and what is refused of a run's data before any worker starts.

Needs no torch, so that a command says at once what a worker would say after its imports.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from volano.data.language_action.arms import ARMS, arm_of
from volano.data.language_action.embodiments import embodiment_of
from volano.data.language_action.words import FAMILIES
from volano.embodiment.contract import Embodiment
from volano.errors import Code, ContractError, PolicyError, TrainError
from volano.model.config import ModelConfig
from volano.model.files import EMBODIMENTS, STATISTICS, TEXT_ONLY
from volano.train.config import CorpusConfig, RunConfig, StageConfig

EPISODES, LANGUAGE_ACTION = "episodes", "language_action"
SETS = (EPISODES, LANGUAGE_ACTION)
VERSION = "version:"
"""Before the identifier of another dataset version, whose episodes are a set of their own."""
_VERSION = re.compile(f"{VERSION}[0-9a-f]{{64}}")
Others = Mapping[str, Mapping[str, Embodiment]]
"""Robots of other dataset versions, by identifier."""


def arm_robots(corpus: CorpusConfig, model: ModelConfig) -> dict[str, Embodiment]:
    """The corpus's arms as contracts with the model's horizon; raises DataError for an unknown arm."""
    if not corpus.trajectories:
        return {}
    return {tag: embodiment_of(arm_of(tag), model.horizon) for tag in corpus.arms or ARMS}


def family_shares(corpus: CorpusConfig) -> dict[str, float]:
    """Share of each family of tasks that is drawn."""
    return {name: share for name, share in corpus.families.items() if share} or dict.fromkeys(FAMILIES, 1.0)


def rows_by_set(stage: StageConfig) -> dict[str, int]:
    """Rows in every batch of a stage, for each set that is drawn; raises TrainError like `apportion`."""
    drawn = {name: share for name, share in stage.mixture.items() if share}
    return apportion(drawn or {EPISODES: 1.0}, stage.batch, f"stage {stage.name!r}")


def other_versions(mixtures: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """Identifiers of the dataset versions that stages with these mixtures draw from beside the run's own, in order."""
    names = {name for mixture in mixtures for name, share in mixture.items() if share and _VERSION.fullmatch(name)}
    return tuple(sorted(name.removeprefix(VERSION) for name in names))


def shares_within(stage: StageConfig, name: str, tags: Collection[str]) -> dict[str, float]:
    """A stage's shares among the robots of one set, empty for equal ones. Raises TrainError(E-TRAIN-006) when it has
    shares, and none for a robot there."""
    shares = {tag: share for tag, share in stage.shares.items() if share}
    found = {tag: share for tag, share in shares.items() if tag in tags}
    if shares and not found:
        raise TrainError(
            Code.TRAIN_MIXTURE,
            f"stage {stage.name!r} mixes {name!r} and has no share for a robot there: {', '.join(sorted(tags))}",
            "give one of them a share, or take the set out",
        )
    return found


def apportion(shares: Mapping[str, float], batch: int, what: str) -> dict[str, int]:
    """Whole rows by largest remainder, each within one of its share. Raises TrainError(E-TRAIN-006), which says `what`,
    where one would have none."""
    if min(shares.values()) < 0:
        raise TrainError(Code.TRAIN_MIXTURE, f"{what} has shares {dict(shares)}", "give no negative share")
    total = sum(shares.values())
    exact = {name: share / total * batch for name, share in shares.items()}
    rows = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (rows[name] - exact[name], name))
    for name in by_remainder[: batch - sum(rows.values())]:
        rows[name] += 1
    if none := sorted(name for name, count in rows.items() if not count):
        raise TrainError(
            Code.TRAIN_MIXTURE,
            f"{what}: no row of {batch} is left for {none[0]!r}",
            "give it a larger share or the stage a larger batch, or take it out",
        )
    return rows


def all_robots(robots: Mapping[str, Embodiment], others: Others) -> dict[str, Embodiment]:
    """The robots of all versions; raises ContractError(E-CONTRACT-001) for one under two contracts."""
    found = dict(robots)
    for version, embodiments in others.items():
        for tag, robot in embodiments.items():
            if found.setdefault(tag, robot).fingerprint != robot.fingerprint:
                cause = f"version {version[:12]} has another contract of {tag!r} than those it is mixed with"
                raise ContractError(Code.CONTRACT_MISMATCH, cause, "mix versions of one contract")
    return found


def check_sets(
    run: RunConfig, robots: Mapping[str, Embodiment], parent: Path | None, others: Others = MappingProxyType({})
) -> None:
    """Refuse mixtures that cannot be drawn, robots that do not fit the model, and robots without statistics. `others`
    are the robots of other versions that stages mix.

    Raises TrainError(E-TRAIN-006) for an unknown set, arm, family or robot and for shares that a batch cannot hold,
    ContractError(E-CONTRACT-001) for a robot with more channels than the model, with pictures that are no whole number
    of its tokens, under two contracts or under another than `parent` knows, and E-CONTRACT-002 for one that `parent`
    has no statistics of.
    """
    own, robots = robots, all_robots(robots, others)
    arms = _arms(run)
    if parent is None:  # its own configuration is the one that counts
        _check_widths({**robots, **arms}, run.model)
        if any(stage.images or stage.vl_batch for stage in run.stages):
            _check_pictures(robots, run.model)
    for stage in run.stages:
        _check_mixture(stage, run.corpus)
        _check_shares(stage, robots)
        _check_sets_of_robots(stage, own, others)
    for tag in sorted(arms.keys() & robots.keys()):
        raise TrainError(
            Code.TRAIN_MIXTURE,
            f"{tag!r} is an arm of the corpus and a robot of the dataset version",
            "name the other arms in corpus.arms",
        )
    if parent is not None:
        drawn = any(LANGUAGE_ACTION in rows_by_set(stage) for stage in run.stages)
        _check_statistics(parent, {**robots, **(arms if drawn else {})})


def _arms(run: RunConfig) -> dict[str, Embodiment]:
    for what, named, known in (("arm", run.corpus.arms, tuple(ARMS)), ("family", run.corpus.families, FAMILIES)):
        for name in sorted(set(named) - set(known)):
            raise _unknown(f"the corpus has no {what} {name!r}", name, known)
    return arm_robots(run.corpus, run.model)


def _check_widths(robots: Mapping[str, Embodiment], model: ModelConfig) -> None:
    for tag, robot in robots.items():
        states = len(robot.state) if model.state_input == "continuous" else 0
        if len(robot.action) > model.channels or states > model.state_channels:
            raise ContractError(
                Code.CONTRACT_MISMATCH,
                f"{tag}: {len(robot.action)} actions and {len(robot.state)} states do not fit a model of "
                f"{model.channels} and {model.state_channels}",
                "raise model.channels or model.state_channels",
            )


def _check_pictures(robots: Mapping[str, Embodiment], model: ModelConfig) -> None:
    side = model.backbone.vision.patch_size * model.backbone.vision.merge
    for tag, robot in robots.items():
        for camera in robot.cameras:
            if camera.height % side or camera.width % side:
                raise ContractError(
                    Code.CONTRACT_MISMATCH,
                    f"{tag}: {camera.name} of {camera.height} x {camera.width} is no whole number of tokens of "
                    f"{side} x {side} pixels",
                    f"resize it on the robot to multiples of {side}, under a contract that says so",
                )


def _check_shares(stage: StageConfig, robots: Mapping[str, Embodiment]) -> None:
    for tag in sorted(tag for tag, share in stage.shares.items() if share and tag not in robots):
        raise TrainError(
            Code.TRAIN_MIXTURE,
            f"stage {stage.name!r} has a share for {tag!r}, of which the dataset version has no episode",
            f"take it out (shares.{tag}=0 of that stage), or name another version",
        )


def _check_sets_of_robots(stage: StageConfig, own: Mapping[str, Embodiment], others: Others) -> None:
    if not others:
        return
    rows = rows_by_set(stage)
    for name, robots in {EPISODES: own, **{VERSION + version: found for version, found in others.items()}}.items():
        if name in rows:
            shares_within(stage, name, robots)


def _check_mixture(stage: StageConfig, corpus: CorpusConfig) -> None:
    for name in sorted(name for name in stage.mixture if name not in SETS and not _VERSION.fullmatch(name)):
        known = (*SETS, f"{VERSION}ID")
        raise _unknown(f"stage {stage.name!r} mixes a set {name!r}, which there is not", name, known)
    rows = rows_by_set(stage)
    if LANGUAGE_ACTION in rows:
        if not corpus.trajectories:
            raise TrainError(
                Code.TRAIN_MIXTURE,
                f"stage {stage.name!r} mixes the synthetic corpus, and the run makes none",
                "set corpus.trajectories, or take language_action out of the stage's mixture",
            )
        apportion(family_shares(corpus), rows[LANGUAGE_ACTION], f"the corpus in stage {stage.name!r}")


def _unknown(cause: str, name: str, known: tuple[str, ...]) -> TrainError:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return TrainError(Code.TRAIN_MIXTURE, cause, f"{hint}there are: {', '.join(known)}")


def _check_statistics(parent: Path, robots: Mapping[str, Embodiment]) -> None:
    known = _contracts(parent)
    for tag, robot in sorted(robots.items()):
        if tag not in known:
            raise ContractError(
                Code.CONTRACT_UNKNOWN,
                f"{parent.name} has no statistics of {tag!r}; it knows: {', '.join(sorted(known))}",
                "go on from a policy that knows it, or train a new one",
            )
        if known[tag].fingerprint != robot.fingerprint:
            raise ContractError(
                Code.CONTRACT_MISMATCH,
                f"{parent.name} knows another contract of {tag!r}",
                "go on from a policy with the same contract, or train a new one",
            )


def _contracts(folder: Path) -> dict[str, Embodiment]:
    """Contracts of a policy folder that have statistics there."""
    try:
        statistics: dict[str, Any] = json.loads((folder / STATISTICS).read_text())
        plain: dict[str, Any] = json.loads((folder / EMBODIMENTS).read_text())
        found = {tag: Embodiment.from_json(plain[tag]) for tag in plain.keys() & statistics.keys()}
        if (folder / TEXT_ONLY).exists():
            text: dict[str, Any] = json.loads((folder / TEXT_ONLY).read_text())
            found |= {tag: Embodiment.from_json(data["embodiment"]) for tag, data in text.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise PolicyError(
            Code.POLICY_FORMAT, f"{folder.name} is not a policy folder: {error}", "export the policy again"
        ) from error
    return found
