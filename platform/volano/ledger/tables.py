"""The ledger's tables, as SQLAlchemy maps them. Migrations make them; a test keeps the two equal."""

from sqlalchemy import BigInteger, Float, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables of the ledger."""


class RobotTable(Base):
    """One row per robot; the key only as a hash."""

    __tablename__ = "robots"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    key_sha256: Mapped[str] = mapped_column(Text, unique=True)
    embodiment: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    site: Mapped[str] = mapped_column(Text)
    enrolled_at: Mapped[float] = mapped_column(Float(53))
    revoked: Mapped[bool]


class PolicyTable(Base):
    """One row per policy folder that was registered."""

    __tablename__ = "policies"
    __table_args__ = (UniqueConstraint("model_name", "version"),)

    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    model_name: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    status: Mapped[str] = mapped_column(Text)
    manifest: Mapped[str] = mapped_column(Text)


class RolloutTable(Base):
    """One row per rollout, replaced step by step by compare-and-swap on `revision`."""

    __tablename__ = "rollouts"
    __table_args__ = (
        Index(
            "one_active_rollout",
            "active",
            unique=True,
            sqlite_where=text("active"),
            postgresql_where=text("active"),
        ),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    revision: Mapped[int]
    document: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    active: Mapped[bool]


class CurrentPolicyTable(Base):
    """One row per embodiment that has a policy in place."""

    __tablename__ = "current_policies"

    fingerprint: Mapped[str] = mapped_column(Text, primary_key=True)
    policy: Mapped[str] = mapped_column(Text)
    since: Mapped[float] = mapped_column(Float(53))


class AssignmentTable(Base):
    """One row per episode that was given a policy; rows are only ever added."""

    __tablename__ = "assignments"
    __table_args__ = (
        Index("assignments_measured", "rollout", "robot", "task"),
        Index("assignments_at", "at"),
    )

    robot: Mapped[str] = mapped_column(Text, primary_key=True)
    episode: Mapped[str] = mapped_column(Text, primary_key=True)
    task: Mapped[str] = mapped_column(Text)
    at: Mapped[float] = mapped_column(Float(53))
    rollout: Mapped[str] = mapped_column(Text)
    policy: Mapped[str] = mapped_column(Text)
    shadow: Mapped[str | None] = mapped_column(Text)
    arm: Mapped[str] = mapped_column(Text)
    counter: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)


class UploadGrantTable(Base):
    """One row per manifest that a robot may send the files of."""

    __tablename__ = "upload_grants"
    __table_args__ = (Index("upload_grants_at", "robot", "at"),)

    robot: Mapped[str] = mapped_column(Text, primary_key=True)
    manifest: Mapped[str] = mapped_column(Text, primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[float] = mapped_column(Float(53))


class RobotKeyTable(Base):
    """One row per robot whose reports are believed."""

    __tablename__ = "robot_keys"

    robot: Mapped[str] = mapped_column(Text, primary_key=True)
    public: Mapped[str] = mapped_column(Text)
    since: Mapped[float] = mapped_column(Float(53))


class AuditTable(Base):
    """The hash chain; rows are only ever added."""

    __tablename__ = "audit"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float] = mapped_column(Float(53))
    kind: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)
