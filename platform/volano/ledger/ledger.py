"""The ledger: which robots, policies and rollouts there are, and everything that was done to them.

Each change and its audit row are one transaction, so neither exists without the other. Times come in as arguments.
Every method raises LedgerError: E-LEDGER-001 when the ledger refuses, E-LEDGER-003 when it cannot be reached.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from volano.errors import Code, LedgerError
from volano.ledger.audit import AuditRow, following
from volano.ledger.database import connect, migrate, translated, writing
from volano.ledger.records import Assignment, Choice, Event, PolicyRecord, Replacement, Robot, RolloutRecord, Situation
from volano.ledger.rows import assignment_of, audit_row_of, policy_of, robot_of, rollout_of
from volano.ledger.tables import (
    AssignmentTable,
    AuditTable,
    CurrentPolicyTable,
    PolicyTable,
    RobotTable,
    RolloutTable,
    UploadGrantTable,
)
from volano.storage.content import canonical_json, sha256_bytes

_PAGE = 1000
_DAY_S = 24 * 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Of a robot: what its uploads may be called, and what no other name can be mistaken for."""


def open_ledger(url: str) -> "Ledger":
    """Open `sqlite:///path` or `postgresql://...`, made and migrated when needed."""
    ledger = Ledger(url)
    migrate(ledger.engine)
    return ledger


class Ledger:
    """An open, migrated ledger; threads, processes and, on Postgres, machines may share it. What comes as a sequence is
    sorted here: databases differ in how they sort texts."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = connect(url)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def enroll_robot(self, robot: Robot, key: str, actor: str) -> None:
        """Add a robot, or give one that was revoked its new key, at `robot.enrolled_at`; only the key's hash stays."""
        if not _NAME.fullmatch(robot.id):
            raise _refused(f"robot {robot.id!r} has no plain name", "use letters, digits, `.`, `_` and `-`")
        payload = {"robot": robot.id, "embodiment": robot.embodiment, "site": robot.site}
        with self._write() as session:
            old = session.get(RobotTable, robot.id)
            if robot.revoked or (old is not None and not old.revoked):
                raise _refused(f"robot {robot.id!r} is enrolled or revoked already", "revoke it before enrolling it")
            session.merge(RobotTable(**vars(robot), key_sha256=_key_digest(key)))
            _append(session, robot.enrolled_at, "robot.enrolled", actor, payload)

    def robot_by_key(self, key: str) -> Robot | None:
        """The robot that holds this key; None for an unknown key and for a revoked robot."""
        return self.robot_by_key_sha256(_key_digest(key))

    def robot_by_key_sha256(self, key_sha256: str) -> Robot | None:
        """The robot whose key has this hex SHA-256, for callers that must not see the key itself."""
        query = select(RobotTable).where(RobotTable.key_sha256 == key_sha256, ~RobotTable.revoked)
        with self._read() as session:
            row = session.scalars(query).one_or_none()
            return robot_of(row) if row else None

    def robot(self, robot_id: str) -> Robot | None:
        """The robot of a name, also when it was revoked."""
        with self._read() as session:
            row = session.get(RobotTable, robot_id)
            return robot_of(row) if row else None

    def robots(self) -> tuple[Robot, ...]:
        """All robots by id, the revoked included."""
        with self._read() as session:
            return tuple(sorted(map(robot_of, session.scalars(select(RobotTable))), key=lambda robot: robot.id))

    def revoke_robot(self, robot_id: str, actor: str, now: float) -> None:
        """Let a robot's key open nothing from here on; repeating it changes nothing."""
        with self._write() as session:
            row = session.get(RobotTable, robot_id)
            if row is None:
                raise _refused(f"there is no robot {robot_id!r}", "list the robots")
            if not row.revoked:
                row.revoked = True
                _append(session, now, "robot.revoked", actor, {"robot": robot_id})

    def put_policy(self, policy: PolicyRecord, actor: str, now: float) -> None:
        """Add a policy or change its status; a known digest with other content is refused."""
        payload = {"policy": policy.digest, "status": policy.status}
        with self._write() as session:
            row = session.get(PolicyTable, policy.digest)
            if row is not None and policy_of(row) == policy:
                return
            if row is None:
                session.add(PolicyTable(**vars(policy)))
            elif vars(policy_of(row)) | {"status": policy.status} == vars(policy):
                row.status = policy.status
            else:
                raise _refused(f"policy {policy.digest} is registered with other content", "register a new version")
            _append(session, now, "policy.put", actor, payload)

    def policy(self, digest: str) -> PolicyRecord | None:
        """The policy of a digest."""
        with self._read() as session:
            row = session.get(PolicyTable, digest)
            return policy_of(row) if row else None

    def policies(self) -> tuple[PolicyRecord, ...]:
        """All policies by model name and version."""
        with self._read() as session:
            found = map(policy_of, session.scalars(select(PolicyTable)))
            return tuple(sorted(found, key=lambda policy: (policy.model_name, policy.version)))

    def create_rollout(self, rollout_id: str, document: str, state: str, event: Event) -> RolloutRecord:
        """Start a rollout at revision 0; refused while another is active or when the id was used."""
        created = RolloutRecord(id=rollout_id, revision=0, document=document, state=state, active=True)
        with self._write() as session:
            active = session.scalars(select(RolloutTable.id).where(RolloutTable.active)).one_or_none()
            if active is not None or session.get(RolloutTable, rollout_id) is not None:
                raise _refused(
                    f"rollout {rollout_id!r} cannot start: {f'{active!r} is active' if active else 'its id was used'}",
                    "end the active rollout first, and choose a new id",
                )
            session.add(RolloutTable(**vars(created)))
            _append_step(session, created, event)
        return created

    def rollout(self, rollout_id: str) -> RolloutRecord | None:
        """The rollout of an id, as it stands now."""
        with self._read() as session:
            row = session.get(RolloutTable, rollout_id)
            return rollout_of(row) if row else None

    def rollouts(self) -> tuple[RolloutRecord, ...]:
        """All rollouts by id."""
        with self._read() as session:
            return tuple(sorted(map(rollout_of, session.scalars(select(RolloutTable))), key=lambda rollout: rollout.id))

    def active_rollout(self) -> RolloutRecord | None:
        """The one rollout that has not ended."""
        with self._read() as session:
            return _active(session)

    def advance_rollout(
        self,
        rollout_id: str,
        expected_revision: int,
        state: str,
        event: Event,
        *,
        ended: bool = False,
        replacement: Replacement | None = None,
    ) -> RolloutRecord:
        """Replace an active rollout's state if it still is at the expected revision; audit the step, and put in place
        what it puts in place, with it."""
        return self._step(rollout_id, expected_revision, state, event, ended, replacement, also_ended=False)

    def end_rollout(
        self, rollout_id: str, expected_revision: int, state: str, event: Event, replacement: Replacement
    ) -> RolloutRecord:
        """The same by a person's decision, which may come after the rollout has ended; it has ended then."""
        return self._step(rollout_id, expected_revision, state, event, True, replacement, also_ended=True)

    def _step(
        self,
        rollout_id: str,
        revision: int,
        state: str,
        event: Event,
        ended: bool,
        replacement: Replacement | None,
        *,
        also_ended: bool,
    ) -> RolloutRecord:
        step = (
            update(RolloutTable)
            .where(RolloutTable.id == rollout_id, RolloutTable.revision == revision, RolloutTable.active | also_ended)
            .values(revision=revision + 1, state=state, active=not ended)
            .returning(RolloutTable)
        )
        with self._write() as session:
            row = session.scalars(step).one_or_none()
            if row is None:
                raise _refused(
                    f"rollout {rollout_id!r} is not active at revision {revision}",
                    "another step was taken: read the rollout again and decide anew",
                )
            advanced = rollout_of(row)
            _append_step(session, advanced, event)
            if replacement is not None:
                _replace(session, replacement, event)
        return advanced

    def set_current(self, fingerprint: str, digest: str, actor: str, now: float) -> None:
        """Put a policy in place for an embodiment; repeating it changes nothing."""
        with self._write() as session:
            _put_in_place(session, fingerprint, digest, actor, now)

    def current(self, fingerprint: str) -> str | None:
        """Digest of the policy in place for an embodiment."""
        return self.current_policies().get(fingerprint)

    def current_policies(self) -> dict[str, str]:
        """Fingerprint to digest of every policy in place."""
        with self._read() as session:
            return {row.fingerprint: row.policy for row in session.scalars(select(CurrentPolicyTable))}

    def assign_episode(
        self, robot_id: str, task: str, episode: str, decide: Callable[[Situation], Choice], now: float
    ) -> Assignment:
        """What an episode was given; when it is new, what `decide` gives it now.

        Counting, deciding and keeping are one transaction, so that no two episodes get one counter. `decide` must be
        quick and may raise: then nothing was kept, and the episode may be asked for again.
        """
        with self._write() as session:
            known = session.get(AssignmentTable, (robot_id, episode))
            if known is not None:
                return assignment_of(known)
            choice = decide(situation := _situation(session, robot_id, task))
            row = AssignmentTable(
                robot=robot_id, episode=episode, task=task, at=now, counter=situation.counter, **vars(choice)
            )
            session.add(row)
            made = assignment_of(row)
            _append(session, now, "episode.assigned", "gateway", {k: v for k, v in vars(made).items() if k != "at"})
        return made

    def assignments(self, rollout_id: str) -> tuple[Assignment, ...]:
        """What a rollout's episodes were given, oldest first."""
        query = select(AssignmentTable).where(AssignmentTable.rollout == rollout_id)
        with self._read() as session:
            found = map(assignment_of, session.scalars(query))
            return tuple(sorted(found, key=lambda given: (given.at, given.robot, given.episode)))

    def policies_assigned_since(self, at: float) -> frozenset[str]:
        """Digests of the policies, shadows included, that episodes were given at or after a time."""
        recent = select(AssignmentTable.policy, AssignmentTable.shadow).where(AssignmentTable.at >= at).distinct()
        with self._read() as session:
            return frozenset(digest for row in session.execute(recent) for digest in row if digest is not None)

    def grant_upload(self, robot_id: str, manifest_sha256: str, size: int, day_bytes: int, now: float) -> bool:
        """Whether a robot may send the files of a manifest, `size` bytes: always again what it was granted, else only
        while its grants of the last 24 hours stay within `day_bytes`."""
        table = UploadGrantTable
        recent = select(func.coalesce(func.sum(table.bytes), 0)).where(table.robot == robot_id, table.at > now - _DAY_S)
        with self._write() as session:
            if session.get(table, (robot_id, manifest_sha256)) is not None:
                return True
            if session.scalars(recent).one() + size > day_bytes:
                return False
            session.add(table(robot=robot_id, manifest=manifest_sha256, bytes=size, at=now))
        return True

    def record(self, kind: str, actor: str, payload: Mapping[str, object], now: float) -> AuditRow:
        """Append one audit row."""
        with self._write() as session:
            return _append(session, now, kind, actor, payload)

    def record_once(self, kind: str, actor: str, payload: Mapping[str, object], now: float) -> None:
        """Append one audit row unless there is one of this kind and payload: for what a kill may have repeated."""
        text = canonical_json(payload).decode()
        query = select(AuditTable.sequence).where(AuditTable.kind == kind, AuditTable.payload == text).limit(1)
        with self._write() as session:
            if session.scalars(query).one_or_none() is None:
                _append(session, now, kind, actor, payload)

    def audit(self, after: int = 0, most: int | None = None) -> Iterator[AuditRow]:
        """The chain in order, from the row after a sequence on, all of it or at most so many rows; read page by
        page."""
        left = most
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            query = select(AuditTable).where(AuditTable.sequence > after).order_by(AuditTable.sequence).limit(size)
            with self._read() as session:
                page = [audit_row_of(row) for row in session.scalars(query)]
            yield from page
            if len(page) < size:
                return
            after, left = page[-1].sequence, None if left is None else left - size

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with translated(), Session(self.engine) as session:
            yield session

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with translated(), Session(writing(self.engine)) as session, session.begin():
            session.connection()
            yield session


def _append(session: Session, at: float, kind: str, actor: str, payload: Mapping[str, object]) -> AuditRow:
    newest = session.scalars(select(AuditTable).order_by(AuditTable.sequence.desc()).limit(1)).one_or_none()
    row = following(audit_row_of(newest) if newest else None, at, kind, actor, canonical_json(payload).decode())
    session.add(AuditTable(**vars(row)))
    return row


def _append_step(session: Session, rollout: RolloutRecord, event: Event) -> None:
    """Audit a rollout's step, bound to the state it led to."""
    payload = {
        "rollout": rollout.id,
        "revision": rollout.revision,
        "state_sha256": sha256_bytes(rollout.state.encode()),
        "event": dict(event.payload),
    }
    _append(session, event.at, event.kind, event.actor, payload)


def _replace(session: Session, replacement: Replacement, event: Event) -> None:
    for fingerprint in replacement.embodiments:
        row = session.get(CurrentPolicyTable, fingerprint)
        if row is not None and row.policy == replacement.old:
            _put_in_place(session, fingerprint, replacement.new, event.actor, event.at)


def _put_in_place(session: Session, fingerprint: str, digest: str, actor: str, now: float) -> None:
    row = session.get(CurrentPolicyTable, fingerprint)
    if row is not None and row.policy == digest:
        return
    previous = row.policy if row else ""
    session.merge(CurrentPolicyTable(fingerprint=fingerprint, policy=digest, since=now))
    payload = {"embodiment": fingerprint, "policy": digest, "previous": previous}
    _append(session, now, "policy.current", actor, payload)


def _active(session: Session) -> RolloutRecord | None:
    row = session.scalars(select(RolloutTable).where(RolloutTable.active)).one_or_none()
    return rollout_of(row) if row else None


def _situation(session: Session, robot_id: str, task: str) -> Situation:
    robot = session.get(RobotTable, robot_id)
    if robot is None or robot.revoked:
        raise _refused(f"there is no robot {robot_id!r}, or its key was revoked", "enroll the robot")
    rollout, counter = _active(session), 0
    if rollout is not None:
        table = AssignmentTable
        measured = (table.rollout == rollout.id, table.robot == robot_id, table.task == task, table.arm != "")
        counter = session.scalars(select(func.count()).select_from(table).where(*measured)).one()
    current = session.get(CurrentPolicyTable, robot.fingerprint)
    cell = (RobotTable.site == robot.site, RobotTable.fingerprint == robot.fingerprint, ~RobotTable.revoked)
    return Situation(
        robot=robot_of(robot),
        task=task,
        current=current.policy if current else None,
        rollout=rollout,
        counter=counter,
        peers=lambda: tuple(session.scalars(select(RobotTable.id).where(*cell))),
    )


def _key_digest(key: str) -> str:
    return sha256_bytes(key.encode())


def _refused(cause: str, fix: str) -> LedgerError:
    return LedgerError(Code.LEDGER_STATE, cause, fix)
