"""A table before an arm with objects on it: where things stand, and where there is room.

The table's top is the plane z = 0 of the arm's base frame; positions are metres, headings radians from the x axis. Pure
functions of a random generator, which answer None when they find no room.
"""

import math
from dataclasses import dataclass

import numpy as np

from volano.data.language_action.arms import Arm
from volano.data.language_action.words import COLOURS, Kind, Region, pick

_CLEARANCE_M = 0.05
"""Room for a finger between two objects."""
_TRIES = 20


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object."""

    name: str
    """Colour and noun, unique in its scene."""
    kind: Kind
    x: float
    y: float
    heading: float

    @property
    def phrase(self) -> str:
        """The object with its article."""
        return f"the {self.name}"

    def gap(self, x: float, y: float, width: float) -> float:
        """Free distance (m) to an object of that width at (x, y)."""
        return math.hypot(self.x - x, self.y - y) - (self.kind.width + width) / 2


@dataclass(frozen=True, kw_only=True)
class Table:
    """The part of the table top in which objects stand."""

    near: float
    """Smallest x."""
    far: float
    side: float
    """Largest absolute y."""

    def holds(self, x: float, y: float) -> bool:
        """Whether the point is on it."""
        return self.near <= x <= self.far and abs(y) <= self.side

    def inside(self, region: Region, x: float, y: float) -> bool:
        """Whether the point is in that region."""
        depth, side = (x - self.near) / (self.far - self.near), y / self.side
        return region.depth[0] <= depth <= region.depth[1] and region.side[0] <= side <= region.side[1]

    def draw(self, generator: np.random.Generator, region: Region) -> tuple[float, float]:
        """A point in that region."""
        depth = generator.uniform(*region.depth)
        return float(self.near + depth * (self.far - self.near)), float(self.side * generator.uniform(*region.side))


ANYWHERE = Region(names=(), where="")


def table_of(arm: Arm) -> Table:
    """The part of the table that the arm reaches well with its gripper pointing down."""
    return Table(near=0.42 * arm.reach, far=0.74 * arm.reach, side=0.42 * arm.reach)


def has_room(things: list[Thing], x: float, y: float, width: float) -> bool:
    """Whether an object of that width fits at (x, y)."""
    return all(thing.gap(x, y, width) >= _CLEARANCE_M for thing in things)


def free_spot(
    generator: np.random.Generator, table: Table, region: Region, things: list[Thing], width: float
) -> tuple[float, float] | None:
    """A point in the region with room for an object of that width."""
    for _ in range(_TRIES):
        x, y = table.draw(generator, region)
        if has_room(things, x, y, width):
            return x, y
    return None


def scatter(generator: np.random.Generator, table: Table, kinds: list[Kind]) -> list[Thing] | None:
    """One object of each kind, apart from each other."""
    things: list[Thing] = []
    for kind in kinds:
        spot = free_spot(generator, table, ANYWHERE, things, kind.width)
        if spot is None:
            return None
        name = f"{pick(generator, COLOURS)} {kind.name}" if kind.painted and generator.random() < 0.7 else kind.name
        heading = float(generator.uniform(-math.pi, math.pi))
        things.append(Thing(name=name, kind=kind, x=spot[0], y=spot[1], heading=heading))
    return things


def draw_kinds(generator: np.random.Generator, kinds: tuple[Kind, ...], count: int) -> list[Kind]:
    """Different kinds, in random order."""
    return [kinds[index] for index in generator.permutation(len(kinds))[:count]]
