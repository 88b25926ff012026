"""What the ledger answers with: frozen records, detached from the database. JSON stands in them as text."""

from collections.abc import Mapping
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
class Event:
    """What is written into the audit with a change."""

    at: float
    """Unix time in seconds."""
    kind: str
    actor: str
    payload: Mapping[str, object]
    """Plain data for JSON."""
