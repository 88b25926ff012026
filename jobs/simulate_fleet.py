"""A simulated fleet: robots of one embodiment take turns in a process, a few such processes at once.

`python -m jobs.simulate_fleet --home DIR --gateway URL --plan PLAN.json` enrolls the plan's robots, runs them, and
says what came of it. What is done is read from the robots' folders: repeating the command after any kill continues,
and repeating it after the end changes nothing. Exit code 0 means that every attempt is in the store.
"""

import argparse
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.fleet.enroll import bring_root, enroll
from jobs.fleet.plan import FleetPlan, embodiment_of, read_plan
from jobs.fleet.progress import bundles, is_done
from jobs.fleet.robot import LOG_FORMAT
from volano.data.bundle import read_manifest
from volano.errors import Code, ConfigError, VolanoError
from volano.ledger.ledger import open_ledger
from volano.registry.trust import ANCHOR

_LOG = logging.getLogger(__name__)
_STARTS = 3
"""Times that a robot whose process ended badly is started."""
_LOOK_S = 0.05
_TIMEOUT_S = 2.0
"""How long a simulated robot waits for an answer, unless it is told otherwise."""


@dataclass(frozen=True, kw_only=True)
class FleetCommand:
    """How a process of robots is started."""

    home: Path
    plan: Path
    gateway: str
    timeout_s: float

    def start(self, robots: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a process that is these robots, one after another, and ends when this process does."""
        options = {
            "--home": self.home,
            "--plan": self.plan,
            "--gateway": self.gateway,
            "--timeout-s": self.timeout_s,
        }
        command = [sys.executable, "-m", "jobs.fleet.robot", *(f"{name}={value}" for name, value in options.items())]
        command += [f"--robot={robot}" for robot in robots]
        return subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})


def run_fleet(command: FleetCommand, robots: Sequence[str], parallel: int, left: Callable[[], Collection[str]]) -> None:
    """Run the robots, at most `parallel` processes at once. Of a process that ends badly, the robots that `left` still
    names are started again a few times, each alone: one whose process always dies does not take its peers with it."""
    waiting, running, starts = _crews(robots), dict[tuple[str, ...], "subprocess.Popen[bytes]"](), Counter[str]()
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                crew = waiting.pop(0)
                starts.update(crew)
                running[crew] = command.start(crew)
            for crew in _ended(running):
                status = running.pop(crew).returncode
                still = left() if status else ()
                again = [robot for robot in crew if robot in still and starts[robot] < _STARTS]
                if again:
                    _LOG.warning("%s ended with status %d, starting again", ", ".join(again), status)
                    waiting += [(robot,) for robot in again]
            time.sleep(_LOOK_S)
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def _crews(robots: Sequence[str]) -> list[tuple[str, ...]]:
    """Robots of one embodiment together: what they import and their simulator cost seconds, and once is enough."""
    by_embodiment: dict[str, list[str]] = {}
    for robot in robots:
        by_embodiment.setdefault(embodiment_of(robot).tag, []).append(robot)
    return [tuple(crew) for crew in by_embodiment.values()]


def _ended(running: Mapping[tuple[str, ...], "subprocess.Popen[bytes]"]) -> list[tuple[str, ...]]:
    return [crew for crew, process in running.items() if process.poll() is not None]


def unfinished(robots: Path, plan: FleetPlan) -> list[str]:
    """Robots that have something left to do."""
    return [
        robot
        for robot in plan.robots
        if not all(is_done(robots / robot, attempt, plan.misbehave.get(robot)) for attempt in plan.of_robot(robot))
    ]


def summarize(robots: Path, plan: FleetPlan) -> Counter[str]:
    """What became of the plan's attempts, by name of the fate; everything is read from the robots' folders."""
    fates: Counter[str] = Counter(attempts=len(plan.attempts))
    for attempt in plan.attempts:
        folder = robots / attempt.robot
        if not is_done(folder, attempt, plan.misbehave.get(attempt.robot)):
            fates["not uploaded"] += 1
            continue
        outcome = read_manifest(bundles(folder) / attempt.name).outcome
        driver = "expert" if attempt.mode == "expert" else "policy alone" if outcome.autonomous else "policy with help"
        fates[f"{driver} {'succeeded' if outcome.success else 'failed'}"] += 1
    return fates


def simulate(plan: FleetPlan, command: FleetCommand, *, parallel: int) -> Counter[str]:
    """Carry out what is left of a plan and return its summary. Raises ConfigError(E-CONFIG-003) when a policy is to
    act and there is no gateway, or no robot may run; a robot that fails shows up in the summary."""
    if parallel < 1:
        raise ConfigError(Code.CONFIG_VALUE, f"{parallel} robots at once do nothing", "give --parallel 1 or more")
    robots = command.home / "robots"
    left = unfinished(robots, plan)
    if not command.gateway and any(attempt.mode == "policy" and attempt.robot in left for attempt in plan.attempts):
        raise ConfigError(Code.CONFIG_VALUE, "the plan has attempts of a policy", "name the gateway with --gateway")
    with open_ledger(f"sqlite:///{command.home / 'ledger.db'}") as ledger:
        enroll(ledger, robots, plan.robots, time.time())
        bring_root(ledger, command.home / "keys" / ANCHOR, robots, plan.robots, time.time())
    _LOG.info("%d attempts of %d robots; %d robots to run", len(plan.attempts), len(plan.robots), len(left))
    run_fleet(command, left, parallel, lambda: unfinished(robots, plan))
    return summarize(robots, plan)


def main() -> int:
    """Entry of `python -m jobs.simulate_fleet`."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m jobs.simulate_fleet", description="Run a simulated fleet."
    )
    parser.add_argument("--home", type=Path, required=True, help="folder of the local platform")
    parser.add_argument("--plan", type=Path, required=True, help="JSON file with the attempts")
    parser.add_argument("--gateway", default="", help="ws:// or wss:// address; not needed for an expert's attempts")
    parser.add_argument("--parallel", type=int, default=2, help="robots that act at the same time")
    parser.add_argument("--timeout-s", type=float, default=_TIMEOUT_S, help="how long a robot waits for an answer")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    _LOG.setLevel(logging.INFO)
    command = FleetCommand(
        home=arguments.home, plan=arguments.plan, gateway=arguments.gateway, timeout_s=arguments.timeout_s
    )
    try:
        fates = simulate(read_plan(arguments.plan), command, parallel=arguments.parallel)
    except VolanoError as error:
        _LOG.error("%s", error)
        return error.exit_code
    _LOG.info("%s", ", ".join(f"{number} {fate}" for fate, number in fates.items()))
    _LOG.info("next: python -m pipelines.ingest --store %s", arguments.home / "store")
    return 1 if fates["not uploaded"] else 0


if __name__ == "__main__":
    sys.exit(main())
