"""The keys that robots sign their reports with: made on the robot, so that only the public half is ever here.

The bearer key by which a gateway knows a robot cannot stand for its word: the gateway hears it at each connection.
"""

import re

from sqlalchemy import select

from volano.errors import Code, LedgerError
from volano.ledger.ledger import Ledger, _append
from volano.ledger.tables import RobotKeyTable, RobotTable

_PUBLIC = re.compile(r"[0-9a-f]{64}")


def trust_robot(ledger: Ledger, robot: str, public: str, actor: str, now: float) -> None:
    """From now on a robot's reports are those that this Ed25519 key signs, raw and in hex; repeating it changes
    nothing.
    Raises LedgerError(E-LEDGER-001) for a robot that is not enrolled."""
    if not _PUBLIC.fullmatch(public):
        raise LedgerError(Code.LEDGER_STATE, "this is no public key", "give the 64 hex digits of an Ed25519 key")
    with ledger._write() as session:
        enrolled = session.get(RobotTable, robot)
        if enrolled is None or enrolled.revoked:
            raise LedgerError(Code.LEDGER_STATE, f"there is no robot {robot!r}", "enroll the robot first")
        known = session.get(RobotKeyTable, robot)
        if known is not None and known.public == public and known.since >= enrolled.enrolled_at:
            return
        session.merge(RobotKeyTable(robot=robot, public=public, since=now))
        _append(session, now, "robot.key", actor, {"robot": robot, "public": public})


def robot_keys(ledger: Ledger) -> dict[str, str]:
    """Name of each enrolled robot to the public key of its reports, raw and in hex; one that was enrolled anew since
    has none."""
    query = select(RobotKeyTable).join(RobotTable, RobotTable.id == RobotKeyTable.robot)
    valid = query.where(~RobotTable.revoked, RobotKeyTable.since >= RobotTable.enrolled_at)
    with ledger._read() as session:
        return {row.robot: row.public for row in session.scalars(valid)}
