"""How a mobile base seeks a box that its camera may not see yet: the expert's decision, pure, memoryless.

It follows from what is in view alone, so that a policy which sees only the picture can learn it.
"""

import math
from dataclasses import dataclass

VIEW_DEG = 90.0
"""Of the camera, in both directions."""
REACH_M = 1.0
"""Between the centres of robot and named box: arrived."""
_CLEARANCE_M = 0.85
_SEEN_RAD = 0.9
"""Half the view, and half a box."""
_IN_VIEW_RAD = math.radians(VIEW_DEG / 2) - 0.1


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where something is, seen from the robot: metres away, and radians to the left."""

    distance_m: float
    bearing_rad: float


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the expert wants: a speed (m/s) in a direction (rad to the left), and where to look (rad to the left)."""

    speed_m_s: float
    direction_rad: float
    look_rad: float


def steer(target: Target, others: tuple[Target, ...]) -> Wish:
    """Turn left until the target is in view, then take the direction nearest to it that passes the boxes in view."""
    if abs(target.bearing_rad) > _IN_VIEW_RAD:
        return Wish(speed_m_s=0.0, direction_rad=0.0, look_rad=math.pi)
    blocked = [
        (other.bearing_rad - half, other.bearing_rad + half)
        for other in others
        if abs(other.bearing_rad) < _SEEN_RAD and _before(other, target)
        for half in [math.asin(min(1.0, _CLEARANCE_M / other.distance_m))]
    ]
    choices = [target.bearing_rad, *(edge for interval in blocked for edge in interval)]
    free = [choice for choice in choices if all(not low + 1e-6 < choice < high - 1e-6 for low, high in blocked)]
    direction = min(free, key=lambda choice: abs(choice - target.bearing_rad), default=target.bearing_rad)
    return Wish(speed_m_s=max(0.2, math.cos(direction)), direction_rad=direction, look_rad=target.bearing_rad)


def _before(other: Target, target: Target) -> bool:
    """Whether a box must be passed on the way to where the target is reached."""
    along = other.distance_m * math.cos(other.bearing_rad - target.bearing_rad)
    return 0.0 < along < target.distance_m - REACH_M + _CLEARANCE_M
