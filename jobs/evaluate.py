"""Evaluate a policy in closed loop: Ray actors play fixed seeds in the simulators, beside two baselines and the expert.

    python -m jobs.evaluate POLICY --episodes N --pool gate --output FILE --store URL --version ID

Every finished episode stands in a journal beside the output; started again after any crash, the job plays only what
is missing. Baselines and expert depend on seeds and data alone, so the next policy evaluated beside the same journal
finds them there. The policy folder and the output folder are shared by all workers.
"""

import argparse
import io
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray

from jobs.crew import Shard, play_all
from volano.cluster import connect
from volano.data.lerobot_read import read
from volano.data.version import DatasetVersion, materialize
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import shipped
from volano.ending import coded_ending
from volano.errors import Code, ConfigError, ContractError, EvaluationError
from volano.evaluate.journal import EpisodeJournal, Played
from volano.evaluate.report import ACTORS, POOLS, Actor, Evaluation, PoolName, Robot, table
from volano.evaluate.simulator import FloatArray
from volano.evaluate.suite import SeedPool, TrialResult, draw_chunks
from volano.model.files import content_digest
from volano.registry.manifest import fingerprints
from volano.storage.files import replace_file
from volano.storage.open import open_store

logger = logging.getLogger(__name__)
JOURNAL = "episodes.jsonl"
_SHARD_EPISODES = 4
_CHUNKS = 512
"""Chunks per robot that the random baseline draws from."""
_PROGRESS_S = 10.0


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate, on what, and where."""

    policy: str
    """A policy folder."""
    episodes: int
    """Per family and actor, shared evenly among the family's robots."""
    pool: PoolName
    output: str
    """The report; the journal stands beside it."""
    embodiments: tuple[str, ...] = ()
    """Tags; empty takes all that the policy knows."""
    store: str = ""
    version: str = ""
    """The dataset version whose chunks the random baseline draws; empty leaves baselines and expert out."""
    workers: int = 2

    @property
    def actors(self) -> tuple[Actor, ...]:
        """Who plays."""
        return ACTORS if self.version else ("policy",)


def evaluate(request: EvaluationRequest) -> Evaluation:
    """Play what is missing and write the report. Raises VolanoError."""
    if request.episodes < 1 or request.workers < 1:
        raise ConfigError(Code.CONFIG_VALUE, "no episodes or no workers", "ask for 1 or more of each")
    folder, output = Path(request.policy), Path(request.output)
    robots = _robots(fingerprints(folder), request.embodiments)
    policy = content_digest(folder)
    who = _names(policy, request.version)
    output.parent.mkdir(parents=True, exist_ok=True)
    journal = EpisodeJournal(output.parent / JOURNAL)
    done = _Done(request, robots, who, journal)
    if missing := done.missing():
        logger.info("%d of %d episodes are there already", done.count(), done.wanted())
        connect()
        chunks = _chunks(request, robots, output.parent) if request.version else {}
        actor = ray.remote(num_cpus=1)(RemoteEvaluator)
        start = partial(actor.remote, str(folder.resolve()), ray.put(chunks))
        play_all(missing, request.workers, start, done.add, done.tell)
    evaluation = done.evaluation(policy)
    replace_file(output, [evaluation.to_bytes()])
    return evaluation


class RemoteEvaluator:
    """One worker; what it needs is imported in its own process and nowhere else."""

    def __init__(self, policy: str, chunks: Mapping[str, FloatArray]) -> None:
        from jobs.evaluator import Evaluator

        self._evaluator = Evaluator(policy, chunks)

    def open(self) -> int:
        """Load the policy; returns the process's identifier. Raises PolicyError."""
        return self._evaluator.open()

    def play(self, shard: Shard) -> list[TrialResult]:
        """Every episode of a shard."""
        return self._evaluator.play(shard)


class _Done:
    """What is known of the wanted episodes, and the journal that remembers it."""

    def __init__(
        self,
        request: EvaluationRequest,
        robots: Mapping[str, Embodiment],
        who: Mapping[Actor, str],
        journal: EpisodeJournal,
    ) -> None:
        self._request, self._robots, self._who, self._journal = request, robots, who, journal
        self._pool = SeedPool[request.pool.upper()]
        self._known = journal.read()
        self._told = time.monotonic()
        self._first: tuple[float, int] | None = None
        """When the first shard of this run ended, and how many episodes were known then: what the speed counts from."""

    def add(self, shard: Shard, results: list[TrialResult]) -> None:
        """Remember a shard's episodes."""
        who, fingerprint = self._who[shard.actor], self._robots[shard.embodiment].fingerprint
        self._journal.append(who, fingerprint, results)
        self._known |= {Played(who=who, fingerprint=fingerprint, seed=one.trial.seed): one for one in results}
        self._first = self._first or (time.monotonic(), self.count())

    def tell(self) -> None:
        """A line about how far it is, now and then."""
        now, count = time.monotonic(), self.count()
        if now - self._told < _PROGRESS_S:
            return
        self._told = now
        left = "workers are starting"
        if self._first is not None and count > self._first[1]:
            seconds = (now - self._first[0]) / (count - self._first[1]) * (self.wanted() - count)
            left = f"about {seconds:.0f} s left"
        wins = {tag: self._results("policy", tag) for tag in self._robots}
        shares = ", ".join(f"{tag} {sum(one.success for one in found)}/{len(found)}" for tag, found in wins.items())
        logger.info("%d/%d episodes, %s; policy: %s", count, self.wanted(), left, shares)

    def missing(self) -> list[Shard]:
        """Shards of what is not known yet."""
        shards = []
        for tag, actor in self._places():
            numbers = [n for n in range(self._share(tag)) if self._key(actor, tag, n) not in self._known]
            shards += [
                Shard(actor=actor, embodiment=tag, pool=self._pool, numbers=tuple(numbers[at : at + _SHARD_EPISODES]))
                for at in range(0, len(numbers), _SHARD_EPISODES)
            ]
        return shards

    def wanted(self) -> int:
        """Episodes in all."""
        return sum(self._share(tag) for tag, _ in self._places())

    def count(self) -> int:
        """Wanted episodes that are known."""
        return sum(len(self._results(actor, tag)) for tag, actor in self._places())

    def evaluation(self, policy: str) -> Evaluation:
        """The report of the wanted episodes."""
        tags = sorted(self._robots)
        return Evaluation(
            policy=policy,
            pool=self._request.pool,
            chunks=self._request.version,
            robots={
                tag: Robot(family=robot.family, fingerprint=robot.fingerprint) for tag, robot in self._robots.items()
            },
            results={
                actor: tuple(one for tag in tags for one in self._results(actor, tag)) for actor in self._request.actors
            },
        )

    def _share(self, tag: str) -> int:
        """Episodes of one robot and actor."""
        family = self._robots[tag].family
        return -(-self._request.episodes // sum(robot.family == family for robot in self._robots.values()))

    def _places(self) -> list[tuple[str, Actor]]:
        return [(tag, actor) for tag in self._robots for actor in self._request.actors]

    def _key(self, actor: Actor, tag: str, number: int) -> Played:
        return Played(who=self._who[actor], fingerprint=self._robots[tag].fingerprint, seed=self._pool + number)

    def _results(self, actor: Actor, tag: str) -> list[TrialResult]:
        keys = (self._key(actor, tag, number) for number in range(self._share(tag)))
        return [self._known[key] for key in keys if key in self._known]


def _robots(known: Mapping[str, str], chosen: tuple[str, ...]) -> dict[str, Embodiment]:
    """The robots to evaluate on; raises ContractError when policy and simulator do not share the contract."""
    robots = {tag: shipped(tag) for tag in chosen or known}
    for tag, robot in robots.items():
        if known.get(tag) != robot.fingerprint:
            raise ContractError(
                Code.CONTRACT_MISMATCH,
                f"the policy was not trained for this contract of {tag!r}",
                f"choose among its robots: {', '.join(sorted(known))}",
            )
    return robots


def _names(policy: str, version: str) -> dict[Actor, str]:
    """How the journal names who acted."""
    return {"policy": f"policy {policy}", "hold": "hold", "random": f"random {version}", "expert": "expert"}


def _chunks(request: EvaluationRequest, robots: Mapping[str, Embodiment], folder: Path) -> dict[str, FloatArray]:
    """Chunks of the dataset version by embodiment, from the last time or from the store."""
    chunks: dict[str, FloatArray] = {}
    paths = {tag: folder / f"chunks-{request.version[:12]}-{tag}-{robots[tag].fingerprint[:12]}.npy" for tag in robots}
    if not all(path.exists() for path in paths.values()):
        with tempfile.TemporaryDirectory(dir=folder) as data:
            version = materialize(open_store(request.store), request.version, Path(data))
            for tag, robot in robots.items():
                _check_version(version, robot)
                recorded = [episode.action for episode in read(Path(data) / tag)]
                _save(paths[tag], draw_chunks(robot, recorded, _CHUNKS))
    for tag, path in paths.items():
        chunks[tag] = np.load(path, allow_pickle=False)
    return chunks


def _check_version(version: DatasetVersion, robot: Embodiment) -> None:
    if version.embodiments.get(robot.tag) != robot:
        raise EvaluationError(
            Code.EVALUATION_DATA,
            f"dataset version {version.id[:12]} has no episode of this contract of {robot.tag!r}",
            f"name another version, or choose among its robots: {', '.join(sorted(version.embodiments))}",
        )


def _save(path: Path, chunks: FloatArray) -> None:
    """The file appears whole or not at all, also when two evaluations beside one journal write it."""
    text = io.BytesIO()
    np.save(text, chunks, allow_pickle=False)
    replace_file(path, [text.getbuffer()])


def main() -> None:
    """The command line of this job."""
    options = _parser().parse_args()
    if options.baselines and not (options.store and options.version):
        _parser().error("the baselines need --store and --version; --no-baselines leaves them out")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings: dict[str, Any] = dict(vars(options))
    if not settings.pop("baselines"):
        settings |= {"store": "", "version": ""}
    settings["embodiments"] = tuple(tag for tag in settings["embodiments"].split(",") if tag)
    with coded_ending(logger):
        evaluation = evaluate(EvaluationRequest(**settings))
    logger.info("%s", table(evaluation))
    logger.info("evaluated: %s\nevaluation: %s", options.output, evaluation.digest)
    logger.info("next: volano eval gate %s", options.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m jobs.evaluate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("policy", help="folder of the policy")
    parser.add_argument("--episodes", type=int, required=True, help="per family and actor, shared among its robots")
    parser.add_argument("--pool", choices=POOLS, required=True, help="pool of seeds")
    parser.add_argument("--output", required=True, help="the report to write; its journal stands beside it")
    parser.add_argument("--embodiments", default="", help="tags, separated by commas; all of the policy's by default")
    parser.add_argument("--store", default="", help="URL of the object store with the dataset version")
    parser.add_argument("--version", default="", help="dataset version whose chunks the random baseline draws")
    parser.add_argument("--no-baselines", dest="baselines", action="store_false", help="evaluate the policy alone")
    parser.add_argument("--workers", type=int, default=2, help="actors, of one core each")
    return parser


if __name__ == "__main__":
    main()
