"""A simulated robot's client: it checks for itself once it was brought the platform's root.

A platform without a root has released nothing yet; its robots then believe the gateway.
"""

from pathlib import Path

from volano.embodiment.contract import Embodiment
from volano.inference.client import RobotClient
from volano.registry.agent import Agent, RobotAgent, papers_in
from volano.registry.assignment import Assigned
from volano.registry.checked_client import CheckedClient
from volano.registry.confirmation import put_report
from volano.registry.report import sign_report
from volano.registry.signing import load_private_key
from volano.registry.trust import ANCHOR, STATE, Trust
from volano.storage.store import ObjectStore

REPORT_KEY, REPORT_PUBLIC = "report.key", "report.pub"


def client_of(
    folder: Path, store: ObjectStore, gateway: str, key: str, embodiment: Embodiment, robot: str, timeout_s: float
) -> RobotClient:
    """The robot's client: one that checks for itself where it was brought a root."""
    if not (folder / ANCHOR).exists():
        return RobotClient(gateway, key, embodiment, robot, timeout_s)
    signer = load_private_key(folder / REPORT_KEY)

    def report(assigned: Assigned, now: float) -> None:
        put_report(store, assigned, sign_report(assigned, signer, now))

    agent = RobotAgent(
        papers_in(store, robot),
        Trust(anchor=folder / ANCHOR, state=folder / STATE),
        Agent(folder / "accepted"),
        robot=robot,
        contract=embodiment.fingerprint,
        report=report,
    )
    return CheckedClient(gateway, key, embodiment, robot, timeout_s, agent)
