"""Gives every simulated robot its identity: a key of its own in the robot's folder, its hash in the ledger."""

import secrets
from collections.abc import Iterable
from pathlib import Path

from jobs.fleet.identity import KEY_FILE, read_key
from jobs.fleet.plan import embodiment_of
from volano.ledger.ledger import Ledger
from volano.ledger.records import Robot
from volano.storage.files import write_once

_ACTOR = "simulated fleet"
_SITE = "simulation"


def enrol(ledger: Ledger, folder: Path, robots: Iterable[str], now: float) -> None:
    """Enrol every robot that is not yet, and never one that was revoked; safe to repeat after a kill. `folder` holds a
    folder per robot, `now` is Unix time in seconds. Raises LedgerError(E-LEDGER-001) when the ledger knows a robot by
    another key."""
    revoked = {robot.id for robot in ledger.robots() if robot.revoked}
    for robot in robots:
        key = _key(folder / robot)
        if robot not in revoked and ledger.robot_by_key(key) is None:
            embodiment = embodiment_of(robot)
            record = Robot(
                id=robot,
                embodiment=embodiment.tag,
                fingerprint=embodiment.fingerprint,
                site=_SITE,
                enrolled_at=now,
                revoked=False,
            )
            ledger.enroll_robot(record, key, _ACTOR)


def _key(folder: Path) -> str:
    """The key in a robot's folder, made when absent; durable before the ledger hears of it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / KEY_FILE).exists():
        write_once(folder / KEY_FILE, secrets.token_urlsafe(32).encode(), 0o600)
    return read_key(folder)
