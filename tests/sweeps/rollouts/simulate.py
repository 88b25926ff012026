"""One simulated rollout from a seed: `python -m tests.sweeps.rollouts.simulate SEED [BUG]` runs it again, and tells.

A seed decides everything: 1 to 50 robots, one or two gateways, whether the candidate is better, and each fault.
"""

import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from tests.sweeps.rollouts.bugs import BUGS, planted
from tests.sweeps.rollouts.faults import watched
from tests.sweeps.rollouts.gateway import Gateway
from tests.sweeps.rollouts.people import Operator, Reconciler
from tests.sweeps.rollouts.robot import Robot
from tests.sweeps.rollouts.truth import Broken, assignments
from tests.sweeps.rollouts.world import CALM_S, EPOCH_S, World
from tests.unit.data.bundles import ROVER
from volano.data.episode import FileEntry
from volano.flywheel import reconcile
from volano.ledger.audit import verify
from volano.ledger.ledger import Ledger, open_ledger
from volano.ledger.records import PolicyRecord
from volano.ledger.records import Robot as RobotRow
from volano.registry.manifest import Lineage, Manifest
from volano.rollout.guardrail import Guardrails
from volano.rollout.plan import ABTestStep, CanaryStep, MinimumEvidence, Rollout, ShadowStep
from volano.storage.content import sha256_bytes

MOST_ROBOTS = 50
_FLEETS = (1, 1, 1, 2, 2, 3, 4)
_EPISODES = 6
"""Of all robots, or one each."""
_HEAL_S, _PATIENCE_S = 20.0, 7200.0
_LOOKS = 4
"""Within which a rollout ends whose patience is over."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What came of a seed."""

    trace: str
    counts: Counter[str]
    broken: str
    """Which invariant did not hold; empty when all did."""


def _released(code: str) -> Manifest:
    lineage = Lineage(dataset_versions=("d" * 64,), config_digest="c" * 64, code_revision=code)
    files = {"model.safetensors": FileEntry(size=1, sha256=sha256_bytes(code.encode()))}
    return Manifest(files=files, embodiments={ROVER.tag: ROVER.fingerprint}, lineage=lineage)


POLICIES = _released("current"), _released("candidate")


def prepare(path: Path, robots: int) -> None:
    """A ledger with robots and two policies, to be copied for each seed."""
    with open_ledger(f"sqlite:///{path}") as ledger:
        for number in range(robots):
            row = RobotRow(
                id=f"rover-{number:02d}",
                embodiment=ROVER.tag,
                fingerprint=ROVER.fingerprint,
                site=f"hall-{number % 2}",
                enrolled_at=1.0,
                revoked=False,
            )
            ledger.enroll_robot(row, f"key of {row.id}", "test")
        for version, manifest in enumerate(POLICIES, 1):
            text = manifest.to_bytes().decode()
            record = PolicyRecord(
                digest=manifest.digest, model_name="policy", version=version, status="released", manifest=text
            )
            ledger.put_policy(record, "test", 2.0)
        ledger.set_current(ROVER.fingerprint, POLICIES[0].digest, "test", 3.0)


def plan_of(random: Random) -> Rollout:
    """A small plan, so that small fleets reach its end."""
    steps = (
        ShadowStep(min_episodes=1),
        CanaryStep(percent=random.choice((50.0, 100.0, 100.0)), min_episodes=1),
        ABTestStep(min_blocks=1, max_blocks=random.choice((2, 4))),
    )
    return Rollout(
        id="rollout-1",
        embodiments=(ROVER.fingerprint,),
        current=POLICIES[0].digest,
        candidate=POLICIES[1].digest,
        salt=f"salt-{random.getrandbits(32)}-{random.randrange(3)}",
        steps=steps[random.choice((0, 1, 1)) :],
        minimum=MinimumEvidence(episodes=1, robots=1, task_pairs=1),
        guardrails=Guardrails(harm_alpha=0.5),
        alpha=0.5,
        patience_s=_PATIENCE_S,
    )


@contextmanager
def template() -> Iterator[Path]:
    """A folder with a prepared ledger for each size of fleet, in memory where there is room."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for robots in {*_FLEETS, MOST_ROBOTS}:
            prepare(Path(folder) / f"{robots}.db", robots)
        yield Path(folder)


def simulate(seed: int, prepared: Path) -> Run:
    """Run a seed over a copy of the prepared ledger."""
    random = Random(seed)
    robots = random.choice(_FLEETS) if random.random() < 0.985 else MOST_ROBOTS
    with tempfile.TemporaryDirectory(dir=prepared) as folder:
        shutil.copyfile(prepared / f"{robots}.db", Path(folder) / "ledger.db")
        with Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
            world = World(random=random, ledger=ledger, plan=plan_of(random))
            try:
                with watched(ledger, world.commits):
                    _live(world, Path(folder), robots)
            except Broken as error:
                return Run(trace=world.trace, counts=world.counts, broken=str(error))
            world.counts["actions"] += world.truth.actions
            return Run(trace=world.trace, counts=world.counts, broken="")


def _live(world: World, folder: Path, number: int) -> None:
    draw = world.random
    reconcile.start(world.ledger, world.plan, EPOCH_S, "test")
    gateways = [Gateway(world, f"gateway-{number}", folder) for number in range(draw.choice((1, 2)))]
    names = [f"rover-{one:02d}" for one in range(number)]
    each = max(1, _EPISODES // number)
    robots = [Robot(world, gateways, name, f"hall-{at % 2}", each) for at, name in enumerate(names)]
    looks = [Reconciler(world, f"reconciler-{one}") for one in range(draw.choice((1, 1, 2)))]
    if len(looks) == 2:
        looks[0].rival = looks[1]
    operator = Operator(world, gateways, names)
    world.ended = lambda: _look_soon(world, gateways)
    world.while_thinking = operator.while_thinking
    _disturb(world, [*names, *(one.name for one in gateways), *(one.name for one in looks)])
    if draw.random() < 0.25:
        world.after(draw.uniform(5, 42), looks[0].decide)
    world.run(CALM_S)
    if draw.random() < 0.7:
        operator.resume_all()
    world.run(CALM_S + _HEAL_S)
    _end(world, gateways, robots, looks[0])


def _look_soon(world: World, gateways: list[Gateway]) -> None:
    """A real gateway looks each second; here it costs less."""
    for gateway in gateways:
        world.after(1.0, gateway.look)


def _disturb(world: World, nodes: list[str]) -> None:
    draw = world.random
    for _ in range(draw.randrange(5)):
        node = draw.choice([*nodes, *(f"{node}-ledger" for node in nodes if "-" in node)])
        seconds = draw.expovariate(0.1)
        world.after(draw.uniform(0, CALM_S), partial(world.part, node, seconds))
    for _ in range(draw.randrange(4)):
        node = draw.choice(nodes)
        world.after(draw.uniform(0, CALM_S), partial(world.jump, node))


def _end(world: World, gateways: list[Gateway], robots: list[Robot], look: Reconciler) -> None:
    """Faults have stopped: everything comes to an end, and everybody runs the one policy in place."""
    for _ in range(_LOOKS):
        look.look()
        record = world.ledger.rollout(world.plan.id)
        if record is None or not record.active:
            break
        world.skip(4 * 3600.0 + _PATIENCE_S)  # behind whatever a clock was set to
    else:
        raise Broken("the rollout does not come to an end")
    for gateway in gateways:
        gateway.look()
    place = world.ledger.current(ROVER.fingerprint)
    for robot in robots:
        robot.may_act = all(world.truth.stopped_since(one.name, robot.subject) is None for one in gateways)
        robot.left = int(robot.may_act)
    begun = {robot.name: robot.episodes for robot in robots}
    world.truth.executed.clear()
    world.run(world.now + 12.0)
    given = {(row.robot, row.episode): row.policy for row in assignments(world.ledger)}
    for (name, episode), policies in world.truth.executed.items():
        if policies != {given.get((name, episode))}:
            raise Broken(f"{name}/{episode} ran what it was not given")
        if episode not in begun[name] and policies != {place}:
            raise Broken(f"{name} does not run the policy in place")
    idle = {robot.name for robot in robots if robot.may_act} - {name for name, _ in world.truth.executed}
    if idle:
        raise Broken(f"{min(idle)} does not act any more")
    verify(world.ledger.audit())
    if any(written != made for written, made in reconcile.replay(world.ledger, world.plan.id)):
        raise Broken("a verdict is not what its inputs make")
    record = world.ledger.rollout(world.plan.id)
    world.counts[f"ended {json.loads(record.state)['kind'] if record else ''}"] += 1


def main() -> int:
    """Run one seed and say what came of it; 1 when an invariant broke."""
    seed, bugs = int(sys.argv[1]), sys.argv[2:]
    with template() as prepared, planted([one for bug in bugs for one in BUGS[bug]]):
        run = simulate(seed, prepared)
    sys.stdout.write(f"seed {seed}, trace {run.trace}\n{dict(run.counts)}\n{run.broken or 'every invariant holds'}\n")
    return bool(run.broken)


if __name__ == "__main__":
    sys.exit(main())
