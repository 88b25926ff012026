"""Simulated robots of one embodiment, one after another: `python -m jobs.fleet.robot`, started by
`jobs.simulate_fleet`.

Per attempt a robot drives and records, then uploads; where it stands is read from its folder, so that a killed robot
continues: uploaded attempts are skipped, finished ones uploaded, torn ones driven again. The process imports neither
torch nor Ray, ends when its parent does (standard input ends), and holds a lock so that a robot is in one process at a
time.
"""

import argparse
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.fleet.attempt import run_attempt
from jobs.fleet.identity import read_key
from jobs.fleet.misbehave import spoil
from jobs.fleet.plan import Attempt, Defect, FleetPlan, embodiment_of, read_plan
from jobs.fleet.progress import bundles, is_done, to_send
from jobs.fleet.trust import client_of
from volano.data.bundle import MANIFEST_FILE, read_manifest
from volano.data.upload import upload
from volano.ending import coded_ending
from volano.errors import VolanoError
from volano.evaluate.simulator import Simulator
from volano.evaluate.simulators.build import build
from volano.inference.client import RobotClient
from volano.storage.files import wait_for_lock
from volano.storage.open import open_store
from volano.storage.parts import PartStore

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 600.0
"""For another process that is the same robot: an orphan ends at once, another fleet with its attempts."""
LOG_FORMAT = "%(asctime)s %(message)s"


@dataclass(frozen=True, kw_only=True)
class SimulatedRobot:
    """A robot with its world, its link and its disk."""

    folder: Path
    store: PartStore
    simulator: Simulator
    client: RobotClient | None
    """None when all its attempts are the expert's."""
    defect: Defect | None

    def carry_out(self, attempt: Attempt) -> str:
        """Bring one attempt from wherever it stands into the store; returns what there is to say about it."""
        sound = bundles(self.folder) / attempt.name
        if not (sound / MANIFEST_FILE).exists():
            run_attempt(self.simulator, attempt, self.client, bundles(self.folder), now=time.time(), sleep=time.sleep)
        for bundle in to_send(self.folder, attempt, self.defect):
            if bundle != sound and self.defect is not None:
                spoil(sound, bundle, self.defect)
            upload(self.store, bundle)
        return describe(attempt, sound)


def describe(attempt: Attempt, bundle: Path) -> str:
    """How a recorded attempt ended, in words."""
    manifest = read_manifest(bundle)
    how = "succeeded" if manifest.outcome.success else "failed"
    helped = " with help" if attempt.mode == "policy" and not manifest.outcome.autonomous else ""
    return f"{attempt.task}: {how}{helped} after {manifest.frames} ticks"


def carry_out_all(robot: SimulatedRobot, name: str, attempts: Sequence[Attempt]) -> int:
    """Carry out attempts one after another; returns how many could not be. One that fails does not stop the rest."""
    failed = 0
    for number, attempt in enumerate(attempts, start=1):
        try:
            said = robot.carry_out(attempt)
        except VolanoError as error:
            failed += 1
            _LOG.error("%s %d/%d %s: %s", name, number, len(attempts), attempt.name, error)
        except Exception:  # an attempt's edge: a world that fails in one episode does not take the others with it
            failed += 1
            _LOG.exception("%s %d/%d %s", name, number, len(attempts), attempt.name)
        else:
            _LOG.info("%s %d/%d %s %s", name, number, len(attempts), attempt.name, said)
    return failed


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Be the only process that is this robot; waits for another one to end, and raises SystemMissingError(E-SYSTEM-004)
    when it does not."""
    with lock.open("ab") as file:
        wait_for_lock(file, _PATIENCE_S)
        yield


def end_with_parent() -> None:
    """End this process as soon as whoever started it is gone, by watching standard input."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def run_robots(home: Path, plan: FleetPlan, names: Sequence[str], gateway: str, timeout_s: float) -> int:
    """Be each robot of `names`, which have one embodiment, until its part of the plan is done; returns how many
    attempts could not be carried out."""
    with closing(build(embodiment_of(names[0]).tag)) as simulator:
        return sum(run_robot(home, plan, name, simulator, gateway, timeout_s) for name in names)


def run_robot(home: Path, plan: FleetPlan, name: str, simulator: Simulator, gateway: str, timeout_s: float) -> int:
    """Be the robot `name` until its part of the plan is done; returns how many attempts could not be carried out."""
    folder, defect = home / "robots" / name, plan.misbehave.get(name)
    with alone(folder / "lock"), ExitStack() as stack:
        left = [attempt for attempt in plan.of_robot(name) if not is_done(folder, attempt, defect)]
        client, store = None, open_store(str(home / "store"))
        if any(attempt.mode == "policy" for attempt in left):
            key, embodiment = read_key(folder), simulator.embodiment
            client = stack.enter_context(closing(client_of(folder, store, gateway, key, embodiment, name, timeout_s)))
        robot = SimulatedRobot(folder=folder, store=store, simulator=simulator, client=client, defect=defect)
        return carry_out_all(robot, name, left)


def main() -> int:
    """Entry of the robot's process."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.fleet.robot", description="Be simulated robots of one embodiment."
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--robot", action="append", required=True, help="may be given again: they take turns")
    parser.add_argument("--gateway", default="")
    parser.add_argument("--timeout-s", type=float, required=True)
    arguments = parser.parse_args()
    end_with_parent()
    warnings.filterwarnings("ignore", category=UserWarning, module="metaworld")  # about its own constants
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    _LOG.setLevel(logging.INFO)
    plan = read_plan(arguments.plan)
    with coded_ending(_LOG):
        failed = run_robots(arguments.home, plan, arguments.robot, arguments.gateway, arguments.timeout_s)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
