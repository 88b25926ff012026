"""Plans to joint motions: straight lines between way points, timed within every joint's limits, kept only if feasible.

Each line is followed by inverse kinematics at Chebyshev points and the polynomial through them, timed by a
minimum-jerk profile from rest to rest. Nothing is clipped: a motion that leaves a joint's limits, is too fast, touches
the table or misses its line by more than 1 mm or half a degree is refused. Many plans of one arm are worked on at once,
with the same result as one by one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from volano.data.language_action.arms import Arm
from volano.data.language_action.kinematics import Poses, forward, inverse, origins
from volano.data.language_action.plans import Plan
from volano.data.language_action.rotations import FloatArray, exponential, logarithm, transposed

NATIVE_HZ = 50
POSITION_TOLERANCE_M = 0.001
ROTATION_TOLERANCE_RAD = math.radians(0.5)
LINEAR_SPEED = 0.8
"""Greatest speed of the fingertips (m/s)."""
ANGULAR_SPEED = 2.0
"""Greatest angular speed of the gripper (rad/s)."""
TAIL_TICKS = 5
"""A motion's ticks after the first are a multiple of this, so that it can be cut to slower rates with its end."""

_DWELL_TICKS = 15
_SHORTEST_LINE_TICKS = 10
_PEAK = 1.875
"""Greatest slope of the minimum-jerk profile."""
_JOINT_SPEED_SHARE = 0.95
_DEGREE = 8
_FROM_HOME_STEPS, _FROM_HOME_DAMPING = 12, 1e-4
_REFINE_STEPS, _REFINE_DAMPING = 3, 1e-7
_NODES = -np.cos(np.pi * np.arange(_DEGREE + 1) / _DEGREE)
_TO_COEFFICIENTS = np.linalg.inv(np.polynomial.chebyshev.chebvander(_NODES, _DEGREE))
_SLOPES = 2.0 * np.polynomial.chebyshev.chebval(_NODES, np.polynomial.chebyshev.chebder(_TO_COEFFICIENTS, axis=0)).T
"""From values at the nodes to derivatives there, by the line's parameter in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A feasible motion at `NATIVE_HZ`, T ticks from rest to rest."""

    joints: FloatArray
    """Shape (T, J), rad."""
    position: FloatArray
    """Fingertips in the base frame, shape (T, 3), metres."""
    rotation: FloatArray
    """Shape (T, 3, 3)."""
    opening: FloatArray
    """Gripper, shape (T,): 0 closed, 1 widest."""


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """The straight lines of several plans in one stack of S: start, displacement and rotation vector of each."""

    plan: NDArray[np.int64]
    """Shape (S,): which plan a line belongs to, ascending."""
    position: FloatArray
    travel: FloatArray
    rotation: FloatArray
    turn: FloatArray
    """In the start's own frame, shape (S, 3)."""
    opening: FloatArray
    """Before and after the line, shape (S, 2)."""

    def at(self, line: NDArray[np.int64], share: FloatArray) -> Poses:
        """Poses after that share of the way along those lines, both of shape (N,)."""
        position = self.position[line] + share[:, None] * self.travel[line]
        return Poses(position=position, rotation=self.rotation[line] @ exponential(share[:, None] * self.turn[line]))


def perform(arm: Arm, plans: Sequence[Plan]) -> list[Motion | None]:
    """The motion of each plan, None where the arm cannot follow it."""
    motions: list[Motion | None] = [None] * len(plans)
    if not plans:
        return motions
    points = _solve_points(arm, plans)
    solved = [number for number, joints in enumerate(points) if joints is not None]
    if not solved:
        return motions
    lines = _lines([plans[number] for number in solved])
    starts = np.concatenate([joints[:-1] for joints in points if joints is not None])
    ends = np.concatenate([joints[1:] for joints in points if joints is not None])
    knots = _solve_knots(arm, lines, starts, ends)
    paces = np.array([plans[number].pace for number in solved])
    timed = _sample(arm, lines, knots, paces)
    for number, motion in zip(solved, timed, strict=True):
        motions[number] = motion
    return motions


def misses(reached: Poses, wanted: Poses) -> NDArray[np.bool_]:
    """Whether a pose is further from the wanted one than the tolerances, shape (N,)."""
    distance = np.sqrt(((reached.position - wanted.position) ** 2).sum(axis=1))
    turn = logarithm(transposed(reached.rotation) @ wanted.rotation)
    angle = np.sqrt((turn**2).sum(axis=1))
    # A comparison that NaN fails: what is not a number misses.
    missed: NDArray[np.bool_] = ~((distance <= POSITION_TOLERANCE_M) & (angle <= ROTATION_TOLERANCE_RAD))
    return missed


def _solve_points(arm: Arm, plans: Sequence[Plan]) -> list[FloatArray | None]:
    """Joints at the way points of each plan, shape (W, J), each solved from the arm's home."""
    target = Poses(
        position=np.concatenate([plan.position for plan in plans]),
        rotation=np.concatenate([plan.rotation for plan in plans]),
    )
    guess = np.tile(np.array(arm.home), (len(target.position), 1))
    joints = inverse(arm, target, guess, steps=_FROM_HOME_STEPS, damping=_FROM_HOME_DAMPING, limited=True)
    missed = misses(forward(arm, joints), target)
    found: list[FloatArray | None] = []
    first = 0
    for plan in plans:
        rows = slice(first, first + len(plan.position))
        found.append(None if missed[rows].any() else joints[rows])
        first = rows.stop
    return found


def _lines(plans: Sequence[Plan]) -> _Lines:
    position = np.concatenate([plan.position[:-1] for plan in plans])
    end = np.concatenate([plan.position[1:] for plan in plans])
    rotation = np.concatenate([plan.rotation[:-1] for plan in plans])
    turned = np.concatenate([plan.rotation[1:] for plan in plans])
    opening = np.concatenate([np.stack((plan.opening[:-1], plan.opening[1:]), axis=1) for plan in plans])
    return _Lines(
        plan=np.repeat(np.arange(len(plans)), [len(plan.position) - 1 for plan in plans]),
        position=position,
        travel=end - position,
        rotation=rotation,
        turn=logarithm(transposed(rotation) @ turned),
        opening=opening,
    )


def _solve_knots(arm: Arm, lines: _Lines, starts: FloatArray, ends: FloatArray) -> FloatArray:
    """Joints at the Chebyshev points of every line, shape (K, S, J)."""
    shares = (_NODES + 1) / 2
    guess = starts + shares[:, None, None] * (ends - starts)
    count, num = guess.shape[:2]
    target = lines.at(np.tile(np.arange(num), count), np.repeat(shares, num))
    flat = guess.reshape(count * num, -1)
    joints = inverse(arm, target, flat, steps=_REFINE_STEPS, damping=_REFINE_DAMPING, limited=False)
    return joints.reshape(guess.shape)


def _durations(arm: Arm, lines: _Lines, knots: FloatArray, paces: FloatArray) -> NDArray[np.int64]:
    """Ticks of every line, shape (S,), so that neither a joint nor the fingertips exceed their speed times the pace."""
    slopes = np.abs((_SLOPES[:, :, None, None] * knots[None]).sum(axis=1)).max(axis=0)
    by_joint = (slopes / (_JOINT_SPEED_SHARE * np.array(arm.speed))).max(axis=1)
    by_travel = np.sqrt((lines.travel**2).sum(axis=1)) / LINEAR_SPEED
    by_turn = np.sqrt((lines.turn**2).sum(axis=1)) / ANGULAR_SPEED
    seconds = _PEAK * np.maximum(by_joint, np.maximum(by_travel, by_turn)) / paces[lines.plan]
    ticks = np.ceil(np.minimum(seconds, 60.0) * NATIVE_HZ).astype(np.int64)
    longer: NDArray[np.int64] = np.maximum(ticks, _SHORTEST_LINE_TICKS)
    return longer


def _sample(arm: Arm, lines: _Lines, knots: FloatArray, paces: FloatArray) -> list[Motion | None]:
    moving = _durations(arm, lines, knots, paces)
    dwell = np.where(lines.opening[:, 0] != lines.opening[:, 1], _DWELL_TICKS, 0)
    first = np.flatnonzero(np.diff(lines.plan, prepend=-1))
    last = np.append(first[1:], len(lines.plan)) - 1
    totals = np.add.reduceat(moving + dwell, first)
    dwell[last] += -totals % TAIL_TICKS
    counts = moving + dwell
    counts[first] += 1
    line = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    # Tick 1 is the first after a line's start; a plan's first line also has tick 0, its rest.
    tick = np.arange(len(line)) - starts[line] + 1
    tick -= np.isin(line, first)
    time = np.minimum(tick / moving[line], 1.0)
    share = time**3 * (10.0 - 15.0 * time + 6.0 * time**2)
    gripping = np.clip((tick - moving[line]) / np.minimum(_DWELL_TICKS, np.maximum(dwell, 1))[line], 0.0, 1.0)
    opening = lines.opening[line, 0] + gripping * (lines.opening[line, 1] - lines.opening[line, 0])
    joints = _evaluate(knots, line, share)
    reached = forward(arm, joints)
    bad = misses(reached, lines.at(line, share)) | _out_of_bounds(arm, joints)
    bounds = np.append(starts[first], len(line))
    motions: list[Motion | None] = []
    for begin, end in pairwise(bounds):
        rows = slice(int(begin), int(end))
        feasible = not bad[rows].any() and not _too_fast(arm, joints[rows])
        motions.append(
            Motion(
                joints=joints[rows],
                position=reached.position[rows],
                rotation=reached.rotation[rows],
                opening=opening[rows],
            )
            if feasible
            else None
        )
    return motions


def _evaluate(knots: FloatArray, line: NDArray[np.int64], share: FloatArray) -> FloatArray:
    """Joints after that share of the way along those lines, shape (N, J), by Clenshaw's recurrence."""
    coefficients = (_TO_COEFFICIENTS[:, :, None, None] * knots[None]).sum(axis=1)
    x = (2.0 * share - 1.0)[:, None]
    later = np.zeros((len(line), knots.shape[2]))
    latest = np.zeros_like(later)
    for order in range(_DEGREE, 0, -1):
        later, latest = coefficients[order][line] + 2.0 * x * later - latest, later
    joints: FloatArray = coefficients[0][line] + x * later - latest
    return joints


def _out_of_bounds(arm: Arm, joints: FloatArray) -> NDArray[np.bool_]:
    """Whether a joint breaks a limit or stands below the table, shape (N,); the first joint stands in the table."""
    inside = np.all((joints >= np.array(arm.low)) & (joints <= np.array(arm.high)), axis=1)
    above = np.all(origins(arm, joints)[:, 1:, 2] > 0.0, axis=1)
    outside: NDArray[np.bool_] = ~(inside & above)
    return outside


def _too_fast(arm: Arm, joints: FloatArray) -> bool:
    return bool((np.abs(np.diff(joints, axis=0)) * NATIVE_HZ > np.array(arm.speed)).any())
