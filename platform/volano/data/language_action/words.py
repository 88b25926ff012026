"""The vocabulary of the language-action corpus: objects, places, directions and verbs, and the sentences made of them.

Every word that says where or how fast carries its meaning as a number in the arm's base frame (x ahead, y to the left,
angles anti-clockwise from above), so that a plan made from the number and a sentence made from the word agree.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Family = Literal["pick_place", "push", "pull", "turn_and_place", "turn_toward", "swap"]
FAMILIES: tuple[Family, ...] = ("pick_place", "push", "pull", "turn_and_place", "turn_toward", "swap")
_DIAGONAL = math.sqrt(0.5)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A sort of object, as a cylinder."""

    name: str
    width: float
    """m"""
    height: float
    """m"""
    front: str = ""
    """The part that shows where the object faces; empty when it has none."""
    holds: Literal["", "on", "in"] = ""
    """How other objects stand with it; empty when they do not."""
    painted: bool = False
    """Whether it comes in colours."""


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A way across the table."""

    phrases: tuple[str, ...]
    vector: tuple[float, float]
    """Of length one."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of the table, in its own coordinates: depth 0 near the robot to 1 far from it, side -1 right to 1 left."""

    names: tuple[str, ...]
    where: str
    """The preposition for being there."""
    depth: tuple[float, float] = (0.0, 1.0)
    side: tuple[float, float] = (-1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Viewpoint:
    """Where an object's front can face: a heading (rad), or the robot's base when it is None."""

    phrases: tuple[str, ...]
    heading: float | None


COLOURS = ("red", "green", "blue", "yellow", "white", "black", "purple", "pink", "grey")
KINDS = (
    Kind(name="cube", width=0.045, height=0.045, painted=True),
    Kind(name="block", width=0.04, height=0.06, painted=True),
    Kind(name="cup", width=0.065, height=0.09, painted=True),
    Kind(name="can", width=0.06, height=0.11),
    Kind(name="bottle", width=0.06, height=0.13, front="label", painted=True),
    Kind(name="box", width=0.055, height=0.08, front="label", painted=True),
    Kind(name="mug", width=0.065, height=0.09, front="handle", painted=True),
    Kind(name="jug", width=0.065, height=0.12, front="spout", painted=True),
    Kind(name="toy car", width=0.05, height=0.045, front="front", painted=True),
    Kind(name="toy robot", width=0.055, height=0.1, front="face", painted=True),
    Kind(name="camera", width=0.06, height=0.065, front="lens"),
    Kind(name="alarm clock", width=0.06, height=0.08, front="dial"),
    Kind(name="sponge", width=0.06, height=0.035),
    Kind(name="lemon", width=0.055, height=0.055),
    Kind(name="apple", width=0.065, height=0.065),
    Kind(name="tomato", width=0.06, height=0.055),
    Kind(name="potato", width=0.055, height=0.05),
    Kind(name="jar", width=0.065, height=0.1),
    Kind(name="candle", width=0.045, height=0.09, painted=True),
    Kind(name="stapler", width=0.04, height=0.05),
)
HOLDERS = (
    Kind(name="plate", width=0.2, height=0.02, holds="on", painted=True),
    Kind(name="tray", width=0.22, height=0.02, holds="on", painted=True),
    Kind(name="cutting board", width=0.2, height=0.02, holds="on"),
    Kind(name="coaster", width=0.1, height=0.01, holds="on"),
    Kind(name="bowl", width=0.16, height=0.06, holds="in", painted=True),
    Kind(name="basket", width=0.2, height=0.09, holds="in"),
    Kind(name="bin", width=0.2, height=0.1, holds="in", painted=True),
)
AT = {"on": ("on", "on top of"), "in": ("in", "inside")}
"""Prepositions for being with a holder."""
TO = {"on": ("onto", "on top of"), "in": ("into", "inside")}
"""Prepositions for going there."""
AHEAD = Direction(phrases=("forward", "straight ahead", "away from the robot"), vector=(1.0, 0.0))
BACK = Direction(phrases=("backward", "back", "toward the robot"), vector=(-1.0, 0.0))
LEFT = Direction(phrases=("left", "to the left", "toward the left side"), vector=(0.0, 1.0))
RIGHT = Direction(phrases=("right", "to the right", "toward the right side"), vector=(0.0, -1.0))
PUSHES = (
    AHEAD,
    LEFT,
    RIGHT,
    Direction(phrases=("forward and to the left", "diagonally forward left"), vector=(_DIAGONAL, _DIAGONAL)),
    Direction(phrases=("forward and to the right", "diagonally forward right"), vector=(_DIAGONAL, -_DIAGONAL)),
)
PULLS = (
    BACK,
    LEFT,
    RIGHT,
    Direction(phrases=("back and to the left", "diagonally back left"), vector=(-_DIAGONAL, _DIAGONAL)),
    Direction(phrases=("back and to the right", "diagonally back right"), vector=(-_DIAGONAL, -_DIAGONAL)),
)
RELATIONS = (
    Direction(phrases=("to the left of", "on the left of", "left of"), vector=(0.0, 1.0)),
    Direction(phrases=("to the right of", "on the right of", "right of"), vector=(0.0, -1.0)),
    Direction(phrases=("in front of", "on the near side of"), vector=(-1.0, 0.0)),
    Direction(phrases=("behind", "beyond", "on the far side of"), vector=(1.0, 0.0)),
)
BESIDE = ("next to", "beside", "near", "close to")
REGIONS = (
    Region(names=("the left side of the table", "the left half of the table"), where="on", side=(0.4, 1.0)),
    Region(names=("the right side of the table", "the right half of the table"), where="on", side=(-1.0, -0.4)),
    Region(
        names=("the middle of the table", "the centre of the table"), where="in", depth=(0.3, 0.7), side=(-0.25, 0.25)
    ),
    Region(names=("the far edge of the table", "the far end of the table"), where="at", depth=(0.75, 1.0)),
    Region(names=("the near edge of the table", "the robot's end of the table"), where="at", depth=(0.0, 0.25)),
    Region(names=("the far left corner",), where="in", depth=(0.65, 1.0), side=(0.5, 1.0)),
    Region(names=("the far right corner",), where="in", depth=(0.65, 1.0), side=(-1.0, -0.5)),
    Region(names=("the near left corner",), where="in", depth=(0.0, 0.35), side=(0.5, 1.0)),
    Region(names=("the near right corner",), where="in", depth=(0.0, 0.35), side=(-1.0, -0.5)),
)
VIEWPOINTS = (
    Viewpoint(phrases=("the robot", "the robot's base"), heading=None),
    Viewpoint(phrases=("away from the robot", "the far side of the table"), heading=0.0),
    Viewpoint(phrases=("the left", "the left side of the table"), heading=math.pi / 2),
    Viewpoint(phrases=("the right", "the right side of the table"), heading=-math.pi / 2),
)
SPINS = {
    1: ("counterclockwise", "anticlockwise", "counterclockwise as seen from above"),
    -1: ("clockwise", "clockwise as seen from above"),
}
"""Sense of a turn seen from above: 1 anti-clockwise, -1 clockwise."""
SLOW_BELOW, QUICK_ABOVE = 0.5, 0.8
"""Paces (1 is the fastest) from which a sentence may call a motion slow or quick."""
LITTLE_BELOW_M, FAR_ABOVE_M = 0.07, 0.16
"""Distances from which a sentence may call a push or a pull small or large."""

_SLOW = ("slowly", "gently", "carefully")
_QUICK = ("quickly", "swiftly")
_VERBS = {
    "grasp": ("pick up", "grab", "grasp", "take", "lift"),
    "put": ("place", "put", "set", "leave"),
    "carry": ("move", "bring", "carry", "transfer"),
    "push": ("push", "shove", "slide"),
    "pull": ("pull", "drag", "draw"),
    "turn": ("turn", "rotate", "twist"),
    "swap": ("swap", "exchange", "switch"),
}
_SENTENCES: dict[Family, tuple[str, ...]] = {
    "pick_place": ("{grasp} {object} and {put} it {at}", "{put} {object} {at}", "{carry} {object} {to}"),
    "push": ("{push} {object} {way}", "use the closed gripper to {push} {object} {way}"),
    "pull": ("{pull} {object} {way}", "{grasp} {object} and {pull} it {way}"),
    "turn_and_place": (
        "{turn} {object} {spin} and {put} it {at}",
        "{grasp} {object}, {turn} it {spin} and {put} it {at}",
        "{carry} {object} {to} and {turn} it {spin}",
    ),
    "turn_toward": (
        "{turn} {object} so that its {front} faces {view}",
        "{turn} {object} until the {front} faces {view}",
        "make the {front} of {object} face {view}",
    ),
    "swap": (
        "{swap} {object} and {other}",
        "{swap} the places of {object} and {other}",
        "put {object} where {other} is and {other} where {object} is",
    ),
}


def pick(generator: np.random.Generator, phrases: tuple[str, ...]) -> str:
    """One of the phrases, each as likely."""
    return phrases[int(generator.integers(len(phrases)))]


def way_phrase(generator: np.random.Generator, direction: str, distance: float) -> str:
    """A direction with or without its distance (m, whole centimetres)."""
    choice = generator.random()
    if choice < 0.4:
        return f"{direction} by {round(distance * 100)} {pick(generator, ('cm', 'centimetres'))}"
    if choice < 0.7 and distance < LITTLE_BELOW_M:
        return f"{pick(generator, ('a little', 'slightly'))} {direction}"
    if choice < 0.7 and distance > FAR_ABOVE_M:
        return f"far {direction}"
    return direction


def sentence(generator: np.random.Generator, family: Family, pace: float, slots: dict[str, str]) -> str:
    """An instruction of that family with the given objects and places, and a word on its pace or none."""
    words = {slot: pick(generator, verbs) for slot, verbs in _VERBS.items()}
    text = pick(generator, _SENTENCES[family]).format(**words, **slots)
    adverbs = _SLOW if pace < SLOW_BELOW else _QUICK if pace > QUICK_ABOVE else ()
    choice = generator.random()
    if adverbs and choice < 0.5:
        adverb = pick(generator, adverbs)
        text = f"{adverb} {text}" if choice < 0.25 else f"{text}, {adverb}"
    return f"please {text}" if generator.random() < 0.1 else text
