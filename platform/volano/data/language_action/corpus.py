"""The language-action corpus: instructions and the feasible arm motions that carry them out, without images or physics.

Trajectory k is a function of (arms, families, seed, k) alone, whatever was generated before it or beside it; so a
corpus can be resumed at any index, and its parts made on different machines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from volano.data.language_action.arms import Arm
from volano.data.language_action.embodiments import RATE_HZ, action_rows, state_rows
from volano.data.language_action.motion import NATIVE_HZ, TAIL_TICKS, Motion, perform
from volano.data.language_action.plans import Plan, draw_plan
from volano.data.language_action.rotations import FloatArray
from volano.data.language_action.words import Family
from volano.errors import Code, TrainError

_BLOCK_PER_ARM = 64
"""Trajectories of one arm that are worked on at once."""
_MOST_ATTEMPTS = 1000


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One instruction and its motion, T ticks at `rate_hz`, from rest to rest."""

    index: int
    arm: str
    """The arm's tag."""
    family: Family
    instruction: str
    rate_hz: float
    joints: FloatArray
    """Shape (T, J), rad."""
    velocities: FloatArray
    """Shape (T, J), rad/s: the mean over the tick that ends here; zero at the first."""
    position: FloatArray
    """Fingertips in the arm's base frame, shape (T, 3), metres."""
    rotation: FloatArray
    """Shape (T, 3, 3)."""
    gripper: FloatArray
    """Opening, shape (T,): 0 closed, 1 widest."""
    state: FloatArray
    """Rows of the embodiment's state, shape (T, J + 1)."""
    action: FloatArray
    """Rows of the embodiment's action, shape (T, 7)."""
    plan: Plan
    """Scene and way points that it was made from."""
    no_room: int
    """Scenes drawn for it before that left no room for its family."""
    infeasible: int
    """Plans drawn for it before that the arm could not follow."""


@dataclass(kw_only=True)
class _Search:
    """One index's attempts so far."""

    family: Family
    attempts: int = 0
    infeasible: int = 0
    made: tuple[Plan, Motion] | None = None


def generate(
    arms: Sequence[Arm],
    families: Sequence[Family],
    count: int,
    seed: int,
    *,
    start: int = 0,
    rate_hz: float = RATE_HZ,
) -> Iterator[Trajectory]:
    """Trajectories `start` to `count` - 1 of the corpus of that seed, in order.

    Arms take turns, and families after each round of arms. `rate_hz` is the embodiments' own or the native 50 Hz;
    raises TrainError(E-TRAIN-006) at another that does not keep a motion's last tick.
    """
    every = NATIVE_HZ / rate_hz
    if not arms or not families or every != int(every) or TAIL_TICKS % int(every):
        raise TrainError(
            Code.TRAIN_MIXTURE,
            f"no corpus of {len(arms)} arms and {len(families)} families at {rate_hz} Hz",
            "give at least one arm and one family, and 10 or 50 Hz",
        )
    return _generate(arms, families, range(start, count), seed, int(every))


def _generate(
    arms: Sequence[Arm], families: Sequence[Family], indices: range, seed: int, every: int
) -> Iterator[Trajectory]:
    block = _BLOCK_PER_ARM * len(arms)
    for first in range(indices.start, indices.stop, block):
        here = range(first, min(first + block, indices.stop))
        searches = {k: _Search(family=families[k // len(arms) % len(families)]) for k in here}
        for turn, group in groupby(sorted(here, key=lambda k: k % len(arms)), key=lambda k: k % len(arms)):
            _search(arms[turn], {k: searches[k] for k in group}, seed)
        for k in here:
            yield _trajectory(k, arms[k % len(arms)], searches.pop(k), every)


def _search(arm: Arm, searches: dict[int, _Search], seed: int) -> None:
    """A feasible plan and its motion for every index: the first of the index's own sequence of attempts."""
    while missing := {k: search for k, search in searches.items() if search.made is None}:
        plans = [_next_plan(arm, search, seed, k) for k, search in missing.items()]
        for search, plan, motion in zip(missing.values(), plans, perform(arm, plans), strict=True):
            if motion is None:
                search.infeasible += 1
            else:
                search.made = plan, motion


def _next_plan(arm: Arm, search: _Search, seed: int, index: int) -> Plan:
    while search.attempts < _MOST_ATTEMPTS:
        generator = np.random.default_rng((seed, index, search.attempts))
        search.attempts += 1
        plan = draw_plan(arm, search.family, generator)
        if plan is not None:
            return plan
    raise TrainError(
        Code.TRAIN_MIXTURE,
        f"{arm.tag} has no feasible {search.family} in {_MOST_ATTEMPTS} attempts (index {index})",
        "leave out the arm or the family",
    )


def _trajectory(index: int, arm: Arm, search: _Search, every: int) -> Trajectory:
    assert search.made is not None
    plan, motion = search.made
    joints, position = motion.joints[::every], motion.position[::every]
    rotation, opening = motion.rotation[::every], motion.opening[::every]
    velocities = np.zeros_like(joints)
    velocities[1:] = np.diff(joints, axis=0) * (NATIVE_HZ / every)
    return Trajectory(
        index=index,
        arm=arm.tag,
        family=plan.family,
        instruction=plan.instruction,
        rate_hz=NATIVE_HZ / every,
        joints=joints,
        velocities=velocities,
        position=position,
        rotation=rotation,
        gripper=opening,
        state=state_rows(joints, opening),
        action=action_rows(position, rotation, opening),
        plan=plan,
        no_room=search.attempts - search.infeasible - 1,
        infeasible=search.infeasible,
    )
