"""What the ledger hands out, made from the rows of its tables."""

from volano.ledger.audit import AuditRow
from volano.ledger.records import Assignment, PolicyRecord, Robot, RolloutRecord
from volano.ledger.tables import AssignmentTable, AuditTable, PolicyTable, RobotTable, RolloutTable


def robot_of(row: RobotTable) -> Robot:
    """A robot."""
    return Robot(
        id=row.id,
        embodiment=row.embodiment,
        fingerprint=row.fingerprint,
        site=row.site,
        enrolled_at=row.enrolled_at,
        revoked=row.revoked,
    )


def policy_of(row: PolicyTable) -> PolicyRecord:
    """A policy."""
    return PolicyRecord(
        digest=row.digest,
        model_name=row.model_name,
        version=row.version,
        status=row.status,
        manifest=row.manifest,
    )


def rollout_of(row: RolloutTable) -> RolloutRecord:
    """A rollout."""
    return RolloutRecord(id=row.id, revision=row.revision, document=row.document, state=row.state, active=row.active)


def assignment_of(row: AssignmentTable) -> Assignment:
    """Which policy an episode was given."""
    return Assignment(
        robot=row.robot,
        episode=row.episode,
        task=row.task,
        at=row.at,
        rollout=row.rollout,
        policy=row.policy,
        shadow=row.shadow,
        arm=row.arm,
        counter=row.counter,
        reason=row.reason,
    )


def audit_row_of(row: AuditTable) -> AuditRow:
    """A row of the audit."""
    return AuditRow(
        sequence=row.sequence,
        at=row.at,
        kind=row.kind,
        actor=row.actor,
        payload=row.payload,
        previous=row.previous,
        digest=row.digest,
    )
