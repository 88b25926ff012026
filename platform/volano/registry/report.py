"""What a robot really runs, in its own words: signed with a key that never left it, about one assignment.

The assignment's nonce stands in the report, so that an old report says nothing of today. Pure.
"""

from dataclasses import asdict, dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from volano.data.text import strict_object
from volano.errors import Code, PolicyError
from volano.registry.assignment import Assigned
from volano.storage.content import canonical_json
from volano.storage.envelope import UnsignedError, sealed, unsealed

PAYLOAD_TYPE = "application/vnd.volano.robot-report.v1+json"
MAX_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Report:
    """A robot says which policy's answers it executes."""

    robot: str
    policy: str
    counter: int
    nonce: str
    """Of the assignment that it accepted."""
    at: float
    """Unix time in seconds, by the robot's clock."""


def sign_report(assigned: Assigned, key: Ed25519PrivateKey, now: float) -> bytes:
    """The envelope in which a robot says that it accepted an assignment."""
    report = Report(
        robot=assigned.subject, policy=assigned.policy, counter=assigned.counter, nonce=assigned.nonce, at=float(now)
    )
    return sealed(canonical_json(asdict(report)), PAYLOAD_TYPE, key)


def verify_report(envelope: bytes, robot: str, key: Ed25519PublicKey, assigned: Assigned) -> Report:
    """What a robot said about its newest assignment. Raises PolicyError(E-POLICY-010) unless its own key signed it, it
    speaks of this robot, and repeats the assignment's counter, policy and nonce."""
    try:
        if len(envelope) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        report = Report(**strict_object(unsealed(envelope, PAYLOAD_TYPE, [key])))
    except (UnsignedError, ValueError, TypeError) as error:
        raise refused(str(error)) from error
    said = (report.robot, report.policy, report.counter, report.nonce)
    if said != (robot, assigned.policy, assigned.counter, assigned.nonce) or type(report.at) is not float:
        raise refused(f"it is not about assignment {assigned.counter} of {robot}")
    return report


def refused(cause: str) -> PolicyError:
    """E-POLICY-010."""
    return PolicyError(
        Code.POLICY_REPORT,
        f"the robot's report is refused: {cause}",
        "name the public half of the robot's own key: volano robot trust",
    )
