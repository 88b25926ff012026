"""Ablations of the method at nano scale: `python -m jobs.experiment --store URL --version ID --output FOLDER`.

Each arm is trained and evaluated with several seeds, each in a process of its own. Killed at any moment, the same
command goes on with what is missing; more seeds may be asked for later.
"""

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from jobs.experiment.arms import CLAIMS, Arm, arms, select
from jobs.experiment.data import prepare
from jobs.experiment.page import render
from jobs.experiment.shard import PLAN, Plan, read_plan, result_path
from jobs.experiment.table import Result, markdown
from volano.ending import coded_ending
from volano.errors import Code, ConfigError, EvaluationError
from volano.storage.content import canonical_json
from volano.storage.files import replace_file
from volano.storage.open import open_store

_LOG = logging.getLogger("experiment")
_LOOK_S = 0.2
Shard = tuple[str, int]


def run(folder: Path, known: Mapping[str, Arm], seeds: int, parallel: int) -> None:
    """Make every missing result. Raises EvaluationError(E-EVALUATE-002) when shards failed, after all the others."""
    waiting = [(name, seed) for seed in range(seeds) for name in known if not result_path(folder, name, seed).exists()]
    whole, failed, running = len(waiting), list[Shard](), dict[Shard, "subprocess.Popen[bytes]"]()
    begun = time.monotonic()
    try:
        while waiting or running:
            for shard in _ready(waiting, known, folder)[: parallel - len(running)]:
                waiting.remove(shard)
                running[shard] = _start(folder, shard)
            for shard in [one for one, process in running.items() if process.poll() is not None]:
                if running.pop(shard).returncode:
                    failed.append(shard)
                    waiting = [one for one in waiting if known[one[0]].parent != shard[0] or one[1] != shard[1]]
                done = whole - len(waiting) - len(running)
                left = (time.monotonic() - begun) / done * (whole - done) / 60
                _LOG.info("%d of %d shards, %s-%d ended, about %.0f min left", done, whole, *shard, left)
            time.sleep(_LOOK_S)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    if failed:
        names = ", ".join(f"{name}-{seed}" for name, seed in failed)
        raise EvaluationError(
            Code.EVALUATION_DATA, f"{len(failed)} shards failed: {names}", f"see {folder}/logs, then start it again"
        )


def _ready(waiting: Sequence[Shard], known: Mapping[str, Arm], folder: Path) -> list[Shard]:
    """Shards whose parent is there."""
    return [
        (name, seed)
        for name, seed in waiting
        if not known[name].parent or result_path(folder, known[name].parent, seed).exists()
    ]


def _start(folder: Path, shard: Shard) -> "subprocess.Popen[bytes]":
    log = folder / "logs" / f"{shard[0]}-{shard[1]}.log"
    with log.open("ab") as stream:
        command = [sys.executable, "-m", "jobs.experiment.shard", str(folder), shard[0], str(shard[1])]
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)


def bind(folder: Path, plan: Plan) -> None:
    """Note the plan of a new folder. Raises ConfigError(E-CONFIG-003) when this one belongs to another experiment."""
    for name in ("results", "logs", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if not (folder / PLAN).exists():
        replace_file(folder / PLAN, [canonical_json(asdict(plan))])
    elif read_plan(folder) != plan:
        raise ConfigError(
            Code.CONFIG_VALUE, f"{folder} belongs to another experiment", f"name another folder, or see {folder / PLAN}"
        )


def report(folder: Path, tags: Sequence[str]) -> Path:
    """Write table and page of every result that is there; the page's path."""
    results = [Result.from_json(json.loads(path.read_bytes())) for path in sorted((folder / "results").glob("*.json"))]
    replace_file(folder / "ablations.md", [markdown(results, CLAIMS, tags).encode()])
    path = folder / "ablations.html"
    replace_file(path, [render(results, CLAIMS, tags)])
    return path


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m jobs.experiment", description="Ablations of the method."
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe of every arm")
    for name in ("store", "version", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--recipe", default="nano_t2a")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=20, help="evaluation episodes per embodiment and shard")
    parser.add_argument("--arms", default="", help="names with commas between; empty takes all")
    parser.add_argument("--parallel", type=int, default=2)
    options = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    with coded_ending(_LOG):
        version = prepare(open_store(options.store), options.version, folder)
        tags = tuple(sorted(version.embodiments))
        plan = Plan(
            version=version.id,
            tags=tags,
            recipe=options.recipe,
            overrides=tuple(options.overrides),
            episodes=options.episodes,
        )
        bind(folder, plan)
        chosen = select(arms(tags, plan.base), options.arms)
        try:
            run(folder, chosen, options.seeds, options.parallel)
        finally:
            _LOG.info("found: %s, and as a table in ablations.md beside it", report(folder, tags))


if __name__ == "__main__":
    main()
