"""How far a robot is with an attempt, read from its folder alone, so that any process can ask at any time."""

from pathlib import Path

from jobs.fleet.plan import Attempt, Defect
from volano.data.bundle import UPLOADED_FILE

RESENT = "-again"
"""What a robot that sends everything twice adds to the attempt's name."""
_BUNDLES = "bundles"
_SPOILED = "spoiled"


def bundles(robot: Path) -> Path:
    """Where a robot, whose folder is given, records."""
    return robot / _BUNDLES


def to_send(robot: Path, attempt: Attempt, defect: Defect | None) -> tuple[Path, ...]:
    """The bundles that an attempt ends in, in the order of sending: what was recorded, what a defect makes of it, or
    both."""
    sound, spoiled = robot / _BUNDLES / attempt.name, robot / _SPOILED / attempt.name
    if defect is None:
        return (sound,)
    return (sound, spoiled.with_name(attempt.name + RESENT)) if defect == "resend" else (spoiled,)


def is_done(robot: Path, attempt: Attempt, defect: Defect | None) -> bool:
    """Whether everything of an attempt is in the store."""
    return all((bundle / UPLOADED_FILE).exists() for bundle in to_send(robot, attempt, defect))
