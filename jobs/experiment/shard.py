"""One arm with one seed: train, play, write what came of it. `python -m jobs.experiment.shard FOLDER ARM SEED`.

A process of its own, so that a shard that dies costs itself; its result appears whole or not at all, and a result that
is there is never made again. Killed in between, its training goes on from its checkpoint.
"""

import fcntl
import json
import logging
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from jobs.crew import Shard
from jobs.evaluator import Evaluator
from jobs.experiment.arms import Arm, arms
from jobs.experiment.data import read
from jobs.recipes import recipe
from volano.config import apply, digest
from volano.embodiment.shipped import shipped
from volano.ending import coded_ending
from volano.evaluate.suite import SeedPool
from volano.model.folder import load, save
from volano.storage.content import canonical_json
from volano.storage.files import replace_file
from volano.train.config import EngineConfig, RunConfig
from volano.train.corpus import make_corpus
from volano.train.dataset import fit_codecs, new_policy
from volano.train.feed import Demonstration
from volano.train.loop import train
from volano.train.stage import Worker

_LOG = logging.getLogger(__name__)
PLAN, LOCK = "experiment.json", ".lock"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an experiment is; a folder belongs to one for ever."""

    version: str
    tags: tuple[str, ...]
    recipe: str
    overrides: tuple[str, ...]
    episodes: int
    """Evaluation episodes per embodiment and shard."""

    @property
    def base(self) -> RunConfig:
        """The configuration that every arm changes; one process trains it."""
        config = apply(recipe(self.recipe), self.overrides)
        return replace(config, engine=EngineConfig(kind="plain", precision=config.engine.precision))


def read_plan(folder: Path) -> Plan:
    """The plan of an experiment's folder."""
    plain = json.loads((folder / PLAN).read_bytes())
    return Plan(**{**plain, "tags": tuple(plain["tags"]), "overrides": tuple(plain["overrides"])})


def result_path(folder: Path, arm: str, seed: int) -> Path:
    """Where a shard's result stands."""
    return folder / "results" / f"{arm}-{seed}.json"


def run_shard(folder: Path, arm: Arm, seed: int) -> None:
    """Train and evaluate one shard, unless that is done. Raises VolanoError."""
    work = folder / "work" / f"{arm.name}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    with (work / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one that outlived a killed experiment goes on to its end
        if not result_path(folder, arm.name, seed).exists():
            _make(folder, arm, seed, work)


def _make(folder: Path, arm: Arm, seed: int, work: Path) -> None:
    begun, plan = time.monotonic(), read_plan(folder)
    config = replace(arm.change(plan.base), seed=seed)
    policy_folder = work / "policy"
    if not policy_folder.is_dir():
        _train(folder, plan, arm, config, work)
    result: dict[str, Any] = {
        "arm": arm.name,
        "seed": seed,
        "config": digest(config),
        "successes": _play(policy_folder, plan, arm),
        "seconds": time.monotonic() - begun,
    }
    replace_file(result_path(folder, arm.name, seed), [canonical_json(result)])


def _train(folder: Path, plan: Plan, arm: Arm, config: RunConfig, work: Path) -> None:
    """A new policy has a codec for every robot, also one that is not learned from: its statistics are those of its own
    episodes, as a robot's maker would state them."""
    robots = {tag: shipped(tag) for tag in plan.tags}
    episodes = {tag: read(folder, plan.version, tag) for tag in plan.tags}
    learned = {tag: _shots(episodes[tag], arm.shots) for tag in arm.learns or plan.tags}
    corpus = make_corpus(config.corpus, config.model)
    torch.manual_seed(config.seed)
    if arm.parent:
        policy = load(folder / "work" / f"{arm.parent}-{config.seed}" / "policy")
    else:
        codecs = fit_codecs(episodes, robots, config.model)
        policy = new_policy(episodes, robots, config.model, corpus, codecs)
    train(policy, learned, config, work / "checkpoints", Worker(), corpus)
    part = work / "policy.part"
    part.mkdir(exist_ok=True)
    save(policy, part)
    part.rename(work / "policy")


def _shots(episodes: list[Demonstration], shots: int) -> list[Demonstration]:
    """All of them, or as many successes, each instruction in turn."""
    if not shots:
        return episodes
    by_task: dict[str, list[Demonstration]] = {}
    for one in episodes:
        if one.succeeded or (one.kinds != "autonomous").all():
            by_task.setdefault(one.instruction, []).append(one)
    turns = [items[number] for number in range(shots) for _, items in sorted(by_task.items()) if number < len(items)]
    return turns[:shots]


def _play(policy: Path, plan: Plan, arm: Arm) -> dict[str, list[int]]:
    """Successes and episodes by embodiment, on seeds that neither a gate nor a fleet uses."""
    evaluator = Evaluator(str(policy), {})
    evaluator.open()
    numbers = tuple(range(plan.episodes))
    found = {}
    for tag in arm.plays or arm.learns or plan.tags:
        played = evaluator.play(Shard(actor="policy", embodiment=tag, pool=SeedPool.EXPERIMENT, numbers=numbers))
        found[tag] = [sum(one.success for one in played), len(played)]
    return found


def main() -> None:
    """Entry of a shard's process."""
    folder, name, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    plan = read_plan(folder)
    with coded_ending(_LOG):
        run_shard(folder, arms(plan.tags, plan.base)[name], seed)


if __name__ == "__main__":
    main()
