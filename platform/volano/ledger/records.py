"""What the ledger answers with: frozen records, detached from the database. JSON stands in them as text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Robot:
    """An enrolled robot. Its key is known to the ledger only as a hash, and to nobody from here."""

    id: str
    embodiment: str
    """Tag of its embodiment."""
    fingerprint: str
    """Fingerprint of its embodiment: its contract."""
    site: str
    enrolled_at: float
    """Unix time in seconds."""
    revoked: bool


@dataclass(frozen=True, kw_only=True)
class PolicyRecord:
    """A policy the ledger knows. Only its status may change."""

    digest: str
    """SHA-256 of its canonical manifest."""
    model_name: str
    version: int
    status: str
    manifest: str
    """JSON text."""


@dataclass(frozen=True, kw_only=True)
class RolloutRecord:
    """A rollout as of one revision."""

    id: str
    revision: int
    """0 when created, one more with each step."""
    document: str
    """The plan, JSON text; it never changes."""
    state: str
    """JSON text."""
    active: bool
    """False once it has ended; at most one rollout is active."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What an episode's policy is decided from, all of it read in the transaction that keeps the decision."""

    robot: Robot
    task: str
    current: str | None
    """Digest of the policy in place for the robot's embodiment."""
    rollout: RolloutRecord | None
    """The active one, whichever embodiments it concerns."""
    counter: int
    """Measured episodes (an arm that is not empty) that the robot has begun of the task in that rollout."""
    peers: Callable[[], tuple[str, ...]]
    """Robots of the same site and embodiment that are not revoked; asked only while the decision is made."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A decision about one episode."""

    rollout: str
    """Id of the rollout that decided; empty when it is none's business."""
    policy: str
    """Digest."""
    shadow: str | None
    """Digest of the policy that answers unheard."""
    arm: str
    """Not empty when the episode is part of the rollout's measurement."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Which policy an episode was given, for good."""

    robot: str
    episode: str
    task: str
    at: float
    """Unix time in seconds."""
    rollout: str
    policy: str
    shadow: str | None
    arm: str
    counter: int
    """The situation's counter: with the rollout's salt it explains the arm."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """What is written into the audit with a change."""

    at: float
    """Unix time in seconds."""
    kind: str
    actor: str
    payload: Mapping[str, object]
    """Plain data for JSON."""


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """One policy for another, wherever the old one is in place among these embodiments."""

    embodiments: tuple[str, ...]
    """Fingerprints."""
    old: str
    new: str
