"""A rollout in small, on this machine: two policies, a few simulated robots, as many episodes as a verdict needs.

`python -m jobs.rehearse CURRENT CANDIDATE --home DIR` gives both policy folders to a platform of their own in DIR: its
key, ledger, store, gateway and replicas. Robots, uploads, ingestion, assignment and judge are those of a fleet. What is
done is read from DIR: repeating the command after any kill continues. Exit code 0 means that the rollout ended with a
verdict, 6 that the episodes were used up before.
"""

import argparse
import logging
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.flywheel.gateway import GatewayKeeper
from jobs.flywheel.home import Home
from jobs.flywheel.plan import TASKS, FlywheelPlan, wave
from jobs.flywheel.running import running
from jobs.flywheel.steps import Steps
from volano.cluster import ROOT
from volano.ending import coded_ending
from volano.errors import Code, ConfigError
from volano.flywheel.released import record_release
from volano.registry import repository
from volano.registry.describe import code_revision
from volano.registry.keys import open_keys
from volano.registry.manifest import MANIFEST, Lineage, Manifest, fingerprints, list_folder, write_manifest
from volano.registry.release import publish
from volano.rollout.plan import ABTestStep, CanaryStep, ShadowStep
from volano.storage.content import sha256_bytes

_LOG = logging.getLogger(__name__)
ROLLOUT, ACTOR, UNDECIDED = "rehearsal", "rehearsal", 6
_ROBOTS, _SHADOWED = 4, 2
"""Simulated robots, and the episodes of each in which the candidate only listens."""
_BLOCKS = 10
"""Pairs before the test may end."""


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What is compared with what, by whom, for how long."""

    current: Path
    """Folder of the policy in place."""
    candidate: Path
    robots: tuple[str, ...]
    """Simulated robots, `TAG-NUMBER`."""
    waves: int
    """Looks at the evidence, at most."""
    episodes: int
    """Of each robot between two looks."""

    def plan(self) -> FlywheelPlan:
        """The same in the flywheel's words: all of these robots may meet the candidate from the first canary on."""
        waves = (_SHADOWED, *(self.episodes,) * (self.waves - 1))
        return FlywheelPlan(
            robots=self.robots,
            misbehave={},
            waves=waves,
            canaries=self.robots,
            steps=(
                ShadowStep(min_episodes=_SHADOWED * len(self.robots)),
                CanaryStep(percent=50.0, min_episodes=_ROBOTS),
                ABTestStep(min_blocks=_BLOCKS, max_blocks=max(_BLOCKS, sum(waves) * len(self.robots) // 2)),
            ),
        )


def rehearse(home: Home, rehearsal: Rehearsal) -> dict[str, Any]:
    """Roll the candidate out until there is a verdict or no wave is left; the last look, as plain data. Raises
    VolanoError."""
    plan = rehearsal.plan()
    with home.occupied():
        home.bind(plan)
        current, candidate = (_register(home, folder) for folder in (rehearsal.current, rehearsal.candidate))
        with running(home, plan, tracked=False) as (steps, gateway):
            if not home.ledger.current_policies():
                steps.make_current(current)
            steps.start_rollout(ROLLOUT, current, candidate)
            return _until_a_verdict(steps, gateway, plan)


def _until_a_verdict(steps: Steps, gateway: GatewayKeeper, plan: FlywheelPlan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number in range(len(plan.waves)):
        begun = time.monotonic()
        gateway.ready()
        steps.fleet(f"wave-{number + 1}", wave(plan, number))
        steps.ingest(f"wave-{number + 1}")
        found = steps.look(ROLLOUT)
        _LOG.info("wave %d of at most %d: %.0f s", number + 1, len(plan.waves), time.monotonic() - begun)
        if found["ended"]:
            break
    return found


def _register(home: Home, folder: Path) -> str:
    """Release a copy with the home's own keys, and register it; the policy's digest."""
    copy = described(folder, home.work("policies") / sha256_bytes(str(folder.resolve()).encode())[:16])
    manifest, now = publish(home.store, copy), time.time()
    keys = open_keys(home.keys, now)
    repository.begin(home.store, keys, now)
    repository.release(home.store, keys, keys.trust, manifest, now)
    record_release(home.ledger, manifest, ACTOR, now)
    return manifest.digest


def described(folder: Path, copy: Path) -> Path:
    """A whole copy of a policy folder, made once, however often this was killed. A policy that was never described is
    described there, with what can be known of it."""
    if not copy.exists():
        part = copy.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(folder, part)
        lineage = Lineage(
            dataset_versions=(),
            config_digest=sha256_bytes((part / "config.json").read_bytes()),
            code_revision=code_revision(ROOT),
        )
        if (folder / MANIFEST).exists():
            lineage = Manifest.from_bytes((folder / MANIFEST).read_bytes()).lineage
        write_manifest(part, lineage)
        part.rename(copy)
    return copy


def choose_robots(current: Path, candidate: Path, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Four simulated robots, in turn of the embodiments that both policies serve, or of those asked for. Raises
    ConfigError(E-CONFIG-003) when there are none, PolicyError for a folder that is no policy."""
    for folder in (current, candidate):
        list_folder(folder)  # says which of them is none
    first, second = fingerprints(current), fingerprints(candidate)
    served = tuple(tag for tag in TASKS if tag in first and first[tag] == second.get(tag))
    if strange := sorted(set(tags) - set(served)):
        raise ConfigError(
            Code.CONFIG_VALUE, f"the policies do not both serve {strange[0]!r}", f"choose of: {', '.join(served)}"
        )
    chosen = tags or served
    if not chosen:
        raise ConfigError(
            Code.CONFIG_VALUE, "the two policies serve no simulated robot alike", "name policies of one contract"
        )
    return tuple(f"{chosen[number % len(chosen)]}-{number // len(chosen) + 1:02d}" for number in range(_ROBOTS))


def _end(number: int, _frame: object) -> None:
    """A second SIGTERM must not end what the first one begins to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    """Entry of `python -m jobs.rehearse`."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m jobs.rehearse", description="Rehearse a rollout on simulated robots."
    )
    parser.add_argument("current", type=Path, help="folder of the policy in place")
    parser.add_argument("candidate", type=Path, help="folder of the policy proposed")
    parser.add_argument("--home", type=Path, required=True, help="folder for everything; its own platform")
    parser.add_argument("--robot", action="append", default=[], metavar="TAG", help="embodiment; default: all of both")
    parser.add_argument("--waves", type=int, default=6, help="looks at the evidence, at most")
    parser.add_argument("--episodes", type=int, default=12, help="of each robot between two looks")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, _end)
    with coded_ending(_LOG):
        if given.waves < 2 or given.episodes < 2:
            raise ConfigError(Code.CONFIG_VALUE, "that compares nothing", "give --waves 2 and --episodes 2, or more")
        robots = choose_robots(given.current, given.candidate, tuple(given.robot))
        home = Home(given.home.resolve())
        found = rehearse(
            home,
            Rehearsal(
                current=given.current,
                candidate=given.candidate,
                robots=robots,
                waves=given.waves,
                episodes=given.episodes,
            ),
        )
    _LOG.info("%s: %s", found["verdict"]["kind"], found["verdict"]["reason"])
    _LOG.info("next: volano rollout page %s --ledger %s", ROLLOUT, home.ledger_url)
    return 0 if found["ended"] else UNDECIDED


if __name__ == "__main__":
    sys.exit(main())
