"""Gives every simulated robot its identity: a key of its own in the robot's folder, its hash in the ledger, and, once
there is one, the root of the platform that it trusts."""

import secrets
from collections.abc import Iterable
from pathlib import Path

from jobs.fleet.identity import KEY_FILE, read_key
from jobs.fleet.plan import embodiment_of
from jobs.fleet.trust import REPORT_KEY, REPORT_PUBLIC
from volano.ledger.ledger import Ledger
from volano.ledger.records import Robot
from volano.ledger.robot_keys import trust_robot
from volano.registry.signing import generate
from volano.registry.trust import ANCHOR
from volano.storage.files import write_once

_ACTOR = "simulated fleet"
_SITE = "simulation"


def enroll(ledger: Ledger, folder: Path, robots: Iterable[str], now: float) -> None:
    """Enroll every robot that is not yet, and never one that was revoked; safe to repeat after a kill. `folder` holds a
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


def bring_root(ledger: Ledger, root: Path, folder: Path, robots: Iterable[str], now: float) -> None:
    """Give each enrolled robot the platform's root, if there is one, and let its report key be believed; safe to
    repeat. `folder` holds a folder per robot, `now` is Unix time in seconds."""
    if not root.exists():
        return
    enrolled = {robot.id for robot in ledger.robots() if not robot.revoked}
    for robot in enrolled.intersection(robots):
        write_once(folder / robot / ANCHOR, root.read_bytes(), 0o644)
        key = generate(folder / robot, REPORT_KEY, REPORT_PUBLIC)
        trust_robot(ledger, robot, key.public_key().public_bytes_raw().hex(), _ACTOR, now)


def _key(folder: Path) -> str:
    """The key in a robot's folder, made when absent; durable before the ledger hears of it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / KEY_FILE).exists():
        write_once(folder / KEY_FILE, secrets.token_urlsafe(32).encode(), 0o600)
    return read_key(folder)
