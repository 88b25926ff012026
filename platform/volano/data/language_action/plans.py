"""The six families of tasks as pure functions of a random generator: a scene, a sentence and way points of the gripper.

A plan is geometry only: which poses the fingertips pass and how wide they open there. `motion` turns it into joints, or
finds that the arm cannot follow. Sentence and way points are made from the same numbers, so they never disagree.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from volano.data.language_action import scene, words
from volano.data.language_action.arms import Arm
from volano.data.language_action.kinematics import forward
from volano.data.language_action.rotations import FloatArray, about_z, exponential
from volano.data.language_action.scene import Table, Thing
from volano.data.language_action.words import Family, pick

FINGER_M = 0.01
"""Half the thickness of the closed fingers: the distance from the fingertips' centre at which they touch."""
_RUN_UP_M = 0.02
_PUSH_HEIGHT_M = 0.02
_SHORTEST_CARRY_M = 0.08
_LARGEST_TILT_RAD = 0.2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the gripper shall do, and what becomes of the objects."""

    family: Family
    instruction: str
    things: tuple[Thing, ...]
    """The scene before; the first thing is the one the instruction names first."""
    after: tuple[Thing, ...]
    """The same things afterwards, in the same order."""
    position: FloatArray
    """Fingertips at each way point, shape (W, 3), metres; straight lines lie between."""
    rotation: FloatArray
    """Shape (W, 3, 3)."""
    opening: FloatArray
    """Gripper after each way point, shape (W,): 0 closed, 1 widest."""
    pace: float
    """Share of the greatest speed, in (0, 1]."""


class _Route:
    """Way points in the making; rotations are relative to the gripper's at the start of the work."""

    def __init__(self, arm: Arm, generator: np.random.Generator, things: list[Thing], turn: float = 0.0) -> None:
        table = scene.table_of(arm)
        down = home_rotation(arm)
        tilt_way, tilt = generator.uniform(-math.pi, math.pi), generator.uniform(0.0, _LARGEST_TILT_RAD)
        yaw = generator.uniform(-0.4, 0.4) - turn / 2
        self.base = exponential(np.array([math.cos(tilt_way) * tilt, math.sin(tilt_way) * tilt, 0.0])) @ (
            about_z(yaw) @ down
        )
        self.stroke = arm.stroke
        tallest = max(thing.kind.height for thing in things)
        self.travel = tallest + 0.6 * tallest + 0.04
        start = (
            (table.near + table.far) / 2 + generator.uniform(-0.05, 0.05),
            generator.uniform(-0.1, 0.1),
            self.travel + generator.uniform(0.0, 0.08),
        )
        self.position: list[tuple[float, float, float]] = [start]
        self.rotation: list[FloatArray] = [about_z(generator.uniform(-0.4, 0.4)) @ down]
        self.opening: list[float] = [1.0]
        self.turned = 0.0

    def to(self, x: float, y: float, z: float) -> None:
        self.position.append((x, y, z))
        self.rotation.append(about_z(self.turned) @ self.base if self.turned else self.base)
        self.opening.append(self.opening[-1])

    def grip(self, opening: float) -> None:
        self.opening[-1] = opening

    def lift(self) -> None:
        x, y, _ = self.position[-1]
        self.to(x, y, self.travel)

    def grasp(self, thing: Thing) -> None:
        self.to(thing.x, thing.y, self.travel)
        self.to(thing.x, thing.y, 0.6 * thing.kind.height)
        self.grip(thing.kind.width / self.stroke)

    def carry(self, thing: Thing, x: float, y: float, bottom: float = 0.0) -> None:
        self.grasp(thing)
        self.lift()
        self.to(x, y, self.travel)
        self.to(x, y, bottom + 0.6 * thing.kind.height)
        self.grip(1.0)
        self.lift()


@cache
def home_rotation(arm: Arm) -> FloatArray:
    """The gripper's rotation at the arm's home, pointing down, shape (3, 3)."""
    rotation: FloatArray = forward(arm, np.array([arm.home])).rotation[0]
    return rotation


def draw_plan(arm: Arm, family: Family, generator: np.random.Generator) -> Plan | None:
    """A plan of that family, or None when the scene that came up leaves no room for it."""
    return _FAMILIES[family](arm, generator)


def _pace(generator: np.random.Generator) -> float:
    return float(generator.uniform(0.35, 1.0))


def _scene(arm: Arm, generator: np.random.Generator, *, movable: int, fronted: bool = False) -> list[Thing] | None:
    """At least `movable` objects that can be grasped, the first with a front if asked, and perhaps others."""
    kinds = scene.draw_kinds(generator, words.KINDS, len(words.KINDS))
    if fronted:
        kinds.sort(key=lambda kind: not kind.front)
    kinds = kinds[: movable + int(generator.integers(2))]
    holders = scene.draw_kinds(generator, words.HOLDERS, int(generator.integers(2)))
    return scene.scatter(generator, scene.table_of(arm), kinds + holders)


@dataclass(frozen=True, kw_only=True)
class _Goal:
    """A place to put something, in words for being there and for going there."""

    at: str
    to: str
    x: float
    y: float
    bottom: float = 0.0


def _goal(table: Table, generator: np.random.Generator, things: list[Thing]) -> _Goal | None:
    """Where the first thing shall go: with a holder, beside another object, or to a region of the table."""
    mover, others = things[0], things[1:]
    goal: _Goal | None
    choice = generator.random()
    if others and others[-1].kind.holds and choice < 0.5:
        goal = _into(generator, others[-1])
    elif others and choice < 0.75:
        goal = _beside(table, generator, mover, others[int(generator.integers(len(others)))], others)
    else:
        region = words.REGIONS[int(generator.integers(len(words.REGIONS)))]
        spot = scene.free_spot(generator, table, region, others, mover.kind.width)
        if spot is None or table.inside(region, mover.x, mover.y):
            return None
        name = pick(generator, region.names)
        goal = _Goal(at=f"{region.where} {name}", to=f"to {name}", x=spot[0], y=spot[1])
    if goal is None or math.hypot(goal.x - mover.x, goal.y - mover.y) < _SHORTEST_CARRY_M:
        return None
    return goal


def _into(generator: np.random.Generator, holder: Thing) -> _Goal:
    at, to = words.AT[holder.kind.holds], words.TO[holder.kind.holds]
    bottom = holder.kind.height if holder.kind.holds == "on" else 0.01
    return _Goal(
        at=f"{pick(generator, at)} {holder.phrase}",
        to=f"{pick(generator, to)} {holder.phrase}",
        x=holder.x,
        y=holder.y,
        bottom=bottom,
    )


def _beside(
    table: Table, generator: np.random.Generator, mover: Thing, reference: Thing, others: list[Thing]
) -> _Goal | None:
    relation = words.RELATIONS[int(generator.integers(len(words.RELATIONS)))]
    ahead, left = relation.vector
    away = (mover.kind.width + reference.kind.width) / 2 + generator.uniform(0.05, 0.09)
    across = generator.uniform(-0.02, 0.02)
    x, y = float(reference.x + ahead * away - left * across), float(reference.y + left * away + ahead * across)
    if not table.holds(x, y) or not scene.has_room(others, x, y, mover.kind.width):
        return None
    phrases = words.BESIDE if generator.random() < 0.25 else relation.phrases
    phrase = f"{pick(generator, phrases)} {reference.phrase}"
    return _Goal(at=phrase, to=phrase, x=x, y=y)


def _finish(
    generator: np.random.Generator, family: Family, route: _Route, things: list[Thing], after: list[Thing],
    slots: dict[str, str],
) -> Plan:  # fmt: skip
    pace = _pace(generator)
    return Plan(
        family=family,
        instruction=words.sentence(generator, family, pace, {"object": things[0].phrase, **slots}),
        things=tuple(things),
        after=tuple(after),
        position=np.array(route.position),
        rotation=np.stack(route.rotation),
        opening=np.array(route.opening),
        pace=pace,
    )


def _pick_place(arm: Arm, generator: np.random.Generator) -> Plan | None:
    things = _scene(arm, generator, movable=1)
    goal = _goal(scene.table_of(arm), generator, things) if things else None
    if things is None or goal is None:
        return None
    route = _Route(arm, generator, things)
    route.carry(things[0], goal.x, goal.y, goal.bottom)
    after = [replace(things[0], x=goal.x, y=goal.y), *things[1:]]
    return _finish(generator, "pick_place", route, things, after, {"at": goal.at, "to": goal.to})


def _slide(arm: Arm, generator: np.random.Generator, ways: tuple[words.Direction, ...]) -> tuple[
    list[Thing], Thing, tuple[float, float], str
] | None:  # fmt: skip
    """A scene, its first thing moved straight over the table, the direction and its phrase."""
    things = _scene(arm, generator, movable=1)
    if things is None:
        return None
    way = ways[int(generator.integers(len(ways)))]
    distance = int(generator.integers(4, 23)) / 100
    mover = things[0]
    moved = replace(mover, x=mover.x + distance * way.vector[0], y=mover.y + distance * way.vector[1])
    passed = [mover.x + 0.5 * (moved.x - mover.x), mover.y + 0.5 * (moved.y - mover.y)]
    clear = scene.has_room(things[1:], moved.x, moved.y, mover.kind.width) and scene.has_room(
        things[1:], passed[0], passed[1], mover.kind.width
    )
    if not clear or not scene.table_of(arm).holds(moved.x, moved.y):
        return None
    return things, moved, way.vector, words.way_phrase(generator, pick(generator, way.phrases), distance)


def _push(arm: Arm, generator: np.random.Generator) -> Plan | None:
    drawn = _slide(arm, generator, words.PUSHES)
    if drawn is None:
        return None
    things, moved, (ahead, left), phrase = drawn
    route = _Route(arm, generator, things)
    route.grip(0.0)
    contact = things[0].kind.width / 2 + FINGER_M
    behind = contact + _RUN_UP_M
    x, y = things[0].x - ahead * behind, things[0].y - left * behind
    if not scene.has_room(things[1:], x, y, 2 * FINGER_M):
        return None
    route.to(x, y, route.travel)
    route.to(x, y, _PUSH_HEIGHT_M)
    route.to(moved.x - ahead * contact, moved.y - left * contact, _PUSH_HEIGHT_M)
    route.lift()
    return _finish(generator, "push", route, things, [moved, *things[1:]], {"way": phrase})


def _pull(arm: Arm, generator: np.random.Generator) -> Plan | None:
    drawn = _slide(arm, generator, words.PULLS)
    if drawn is None:
        return None
    things, moved, _, phrase = drawn
    route = _Route(arm, generator, things)
    route.grasp(things[0])
    route.to(moved.x, moved.y, 0.6 * moved.kind.height)
    route.grip(1.0)
    route.lift()
    return _finish(generator, "pull", route, things, [moved, *things[1:]], {"way": phrase})


def _turn_and_place(arm: Arm, generator: np.random.Generator) -> Plan | None:
    things = _scene(arm, generator, movable=1)
    goal = _goal(scene.table_of(arm), generator, things) if things else None
    if things is None or goal is None:
        return None
    sense = 1 if generator.random() < 0.5 else -1
    degrees = 15 * int(generator.integers(2, 10))
    turn = sense * math.radians(degrees)
    route = _Route(arm, generator, things, turn)
    mover = things[0]
    route.grasp(mover)
    route.lift()
    route.turned = turn
    route.to(goal.x, goal.y, route.travel)
    route.to(goal.x, goal.y, goal.bottom + 0.6 * mover.kind.height)
    route.grip(1.0)
    route.lift()
    spin = f"{degrees} degrees {pick(generator, words.SPINS[sense])}"
    after = [replace(mover, x=goal.x, y=goal.y, heading=mover.heading + turn), *things[1:]]
    return _finish(generator, "turn_and_place", route, things, after, {"at": goal.at, "to": goal.to, "spin": spin})


def _turn_toward(arm: Arm, generator: np.random.Generator) -> Plan | None:
    things = _scene(arm, generator, movable=1, fronted=True)
    if things is None:
        return None
    mover = things[0]
    view = words.VIEWPOINTS[int(generator.integers(len(words.VIEWPOINTS)))]
    wanted = math.atan2(-mover.y, -mover.x) if view.heading is None else view.heading
    turn = (wanted - mover.heading + math.pi) % (2 * math.pi) - math.pi
    if not math.radians(20) <= abs(turn) <= math.radians(140):
        return None
    route = _Route(arm, generator, things, turn)
    height = 0.6 * mover.kind.height
    route.grasp(mover)
    route.to(mover.x, mover.y, height + 0.03)
    route.turned = turn
    route.to(mover.x, mover.y, height + 0.03)
    route.to(mover.x, mover.y, height)
    route.grip(1.0)
    route.lift()
    after = [replace(mover, heading=mover.heading + turn), *things[1:]]
    slots = {"front": mover.kind.front, "view": pick(generator, view.phrases)}
    return _finish(generator, "turn_toward", route, things, after, slots)


def _swap(arm: Arm, generator: np.random.Generator) -> Plan | None:
    things = _scene(arm, generator, movable=2)
    if things is None:
        return None
    first, second = things[:2]
    room = scene.free_spot(generator, scene.table_of(arm), scene.ANYWHERE, things, first.kind.width)
    if room is None or first.gap(second.x, second.y, second.kind.width) < _SHORTEST_CARRY_M:
        return None
    route = _Route(arm, generator, things)
    aside = replace(first, x=room[0], y=room[1])
    route.carry(first, aside.x, aside.y)
    route.carry(second, first.x, first.y)
    route.carry(aside, second.x, second.y)
    after = [replace(first, x=second.x, y=second.y), replace(second, x=first.x, y=first.y), *things[2:]]
    return _finish(generator, "swap", route, things, after, {"other": second.phrase})


_FAMILIES: dict[Family, Callable[[Arm, np.random.Generator], Plan | None]] = {
    "pick_place": _pick_place,
    "push": _push,
    "pull": _pull,
    "turn_and_place": _turn_and_place,
    "turn_toward": _turn_toward,
    "swap": _swap,
}
