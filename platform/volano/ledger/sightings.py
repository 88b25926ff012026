"""When each robot was last heard of, and what it ran then: what the ledger holds of its episodes and uploads.

A robot counts as seen when it begins an episode or is granted an upload; what it does within an episode is in the
gateway's metrics and access log.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from volano.ledger.database import translated
from volano.ledger.ledger import Ledger
from volano.ledger.records import Assignment, Robot
from volano.ledger.rows import assignment_of, robot_of
from volano.ledger.tables import AssignmentTable, RobotTable, UploadGrantTable


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A robot, and what was seen of it last."""

    robot: Robot
    seen_at: float | None
    """Unix time in seconds; None for a robot that never came."""
    last: Assignment | None
    """Of its newest episode."""


def sightings(ledger: Ledger) -> tuple[Sighting, ...]:
    """Of every robot, by its id, the revoked included."""
    given, granted = AssignmentTable, UploadGrantTable
    newest = select(given.robot, func.max(given.at).label("at")).group_by(given.robot).subquery()
    rows = select(given).join(newest, (given.robot == newest.c.robot) & (given.at == newest.c.at))
    with translated(), Session(ledger.engine) as session:
        episodes = {row.robot: assignment_of(row) for row in session.scalars(rows.order_by(given.episode))}
        sent = select(granted.robot, func.max(granted.at)).group_by(granted.robot)
        uploads = {robot: at for robot, at in session.execute(sent)}  # noqa: C416 - rows are no pairs to a type checker
        robots = [robot_of(row) for row in session.scalars(select(RobotTable).order_by(RobotTable.id))]
    return tuple(_sighting(robot, episodes.get(robot.id), uploads.get(robot.id)) for robot in robots)


def _sighting(robot: Robot, episode: Assignment | None, uploaded_at: float | None) -> Sighting:
    times = [at for at in (episode.at if episode else None, uploaded_at) if at is not None]
    return Sighting(robot=robot, seen_at=max(times, default=None), last=episode)
