"""Which robots say that they run what they are assigned: their reports, in the object store beside the assignments.

A report stands under its assignment's counter and is written once. Only those that the robot's own key signed, about
the newest assignment, count.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from volano.errors import PolicyError
from volano.registry.assignment import Assigned, read_assignment
from volano.registry.director import newest_assignment
from volano.registry.metadata import Releases
from volano.registry.report import MAX_BYTES, Report, refused, verify_report
from volano.storage.store import ObjectStore


@dataclass(frozen=True, kw_only=True)
class Running:
    """What a robot is assigned, and what it says that it runs."""

    robot: str
    assigned: Assigned | None
    """None before it was assigned anything that counts."""
    report: Report | None
    """None until it says that it runs that."""


def take_report(store: ObjectStore, releases: Releases, robot: str, key: Ed25519PublicKey, envelope: bytes) -> Report:
    """Keep a robot's report on its newest assignment; the first one stays. Raises PolicyError(E-POLICY-010) when it is
    no such report, and what reading the assignment raises."""
    newest = newest_assignment(store, robot)
    if newest is None:
        raise refused(f"{robot} was never assigned a policy")
    report = verify_report(envelope, robot, key, read_assignment(newest, releases))
    put_report(store, report, envelope)
    return report


def put_report(store: ObjectStore, about: Report | Assigned, envelope: bytes) -> None:
    """Keep a report of somebody who may write the store; who reads it verifies it."""
    robot = about.robot if isinstance(about, Report) else about.subject
    store.put_new(_key(robot, about.counter), envelope)


def running(store: ObjectStore, releases: Releases, keys: Mapping[str, Ed25519PublicKey]) -> tuple[Running, ...]:
    """What each robot that has a key for its reports runs, by name; nothing is believed that is not signed."""
    return tuple(_running(store, releases, robot, key) for robot, key in sorted(keys.items()))


def unconfirmed(found: tuple[Running, ...], policy: str) -> tuple[str, ...]:
    """Robots that are assigned a policy and do not yet say that they run it: a step that has to reach them waits."""
    return tuple(
        one.robot for one in found if one.assigned is not None and one.assigned.policy == policy and one.report is None
    )


def _running(store: ObjectStore, releases: Releases, robot: str, key: Ed25519PublicKey) -> Running:
    newest = newest_assignment(store, robot)
    if newest is None:
        return Running(robot=robot, assigned=None, report=None)
    try:
        assigned = read_assignment(newest, releases)
    except PolicyError:
        return Running(robot=robot, assigned=None, report=None)
    size = store.size(_key(robot, assigned.counter))
    if size is None or size > MAX_BYTES:
        return Running(robot=robot, assigned=assigned, report=None)
    try:
        report = verify_report(store.get(_key(robot, assigned.counter)), robot, key, assigned)
    except PolicyError:
        report = None
    return Running(robot=robot, assigned=assigned, report=report)


def _key(robot: str, counter: int) -> str:
    return f"reports/{robot}/{counter:010d}.json"
