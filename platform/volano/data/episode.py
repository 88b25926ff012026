"""An episode as a robot hands it over: a manifest in JSON, one Parquet table of ticks, one MP4 per camera.

The manifest is plain data with a canonical JSON; the episode's content identifier is the SHA-256 over what was
measured (not over names or upload times), so that the same attempt sent twice is one episode. Parsing is strict:
a manifest from outside is hostile until `Manifest.from_json` returned.
"""

import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Self, get_args

from volano.data.text import is_plain_text
from volano.errors import Code, DataError
from volano.storage.content import canonical_json, sha256_bytes

SegmentKind = Literal["autonomous", "intervention", "recovery"]
OutcomeSource = Literal["operator", "script", "judge", "timeout", "repair"]
"""Who says how an attempt ended. `repair`: nobody does, its recording was cut off and what was written was kept."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_HEX = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"steps\.parquet|camera\.[a-z][a-z0-9_]{0,31}\.mp4")
SCHEMA = "volano.episode.1"
STEPS_FILE = "steps.parquet"
"""Columns, one row per tick: frame_index int64, timestamp float64 (s from the episode's start, the robot's monotonic
clock), state fixed_size_list<float32>, action fixed_size_list<float32> (physical units, recorded frame), segment
string, policy string (digest, empty when no policy acted), request string (identifier of the answer that the
action came from, empty when none), executed string (`policy`, `fallback` or `expert`)."""


def video_file(camera: str) -> str:
    """Name of a camera's video inside the bundle."""
    return f"camera.{camera}.mp4"


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Ticks [start, end) in which one kind of control acted."""

    start: int
    end: int
    kind: SegmentKind


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the attempt ended, and who says so. `success` is about the whole attempt; `autonomous` is true when no
    intervention was needed."""

    success: bool
    autonomous: bool
    source: OutcomeSource
    safety_stops: int = 0
    """How often the robot's own safety stopped it: protective and emergency stops, not the platform's fallback."""

    @property
    def is_known(self) -> bool:
        """Whether anybody saw the end; `success` is false and says nothing otherwise."""
        return self.source != "repair"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an upload claims to be."""

    schema: str
    attempt: str
    """The robot's own name for the attempt; unique per robot, not trusted as identity."""
    robot: str
    embodiment: str
    fingerprint: str
    """Fingerprint of the embodiment's contract."""
    task: str
    instruction: str
    started_at: float
    """Unix time in seconds, by the robot's clock."""
    rate_hz: float
    frames: int
    segments: tuple[Segment, ...]
    outcome: Outcome
    policies: tuple[str, ...]
    """Digests of every policy whose actions were executed, in order of first use."""
    rollout: str
    """Identifier of the rollout under which the policy was assigned; empty when none."""
    arm: str
    """Arm of that rollout this episode was assigned to; empty when none."""
    files: dict[str, FileEntry]

    @cached_property
    def content_id(self) -> str:
        """SHA-256 over the robot and its files' hashes: one identifier per attempt, whatever it is called."""
        measured = {name: entry.sha256 for name, entry in self.files.items()}
        return sha256_bytes(canonical_json({"robot": self.robot, "embodiment": self.fingerprint, "files": measured}))

    @property
    def upload_key(self) -> str:
        """Where the manifest is put in a store: the upload exists once it is there."""
        return f"uploads/{self.robot}/{self.attempt}.json"

    def to_json(self) -> dict[str, Any]:
        """Plain data. That no safety stop was counted is said by not saying it, as robots do that count none."""
        plain = asdict(self)
        if not self.outcome.safety_stops:
            del plain["outcome"]["safety_stops"]
        return plain

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.to_json())

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from untrusted plain data; raises DataError(E-DATA-014) for anything but a well-formed manifest."""
        try:
            return cls(**_parse(data))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                Code.DATA_MANIFEST, f"the manifest is not well-formed: {error}", "record the episode again"
            ) from error


_TEXT = ("schema", "attempt", "robot", "embodiment", "fingerprint", "task", "instruction", "rollout", "arm")
_FIELDS = {*_TEXT, "started_at", "rate_hz", "frames", "segments", "outcome", "policies", "files"}
_MAX_TEXT = 1000
_MAX_FRAMES = 1_000_000
_MAX_STOPS = 10_000
_MAX_FILE_BYTES = 1 << 50


def _parse(data: object) -> dict[str, Any]:
    if not isinstance(data, dict) or set(data) != _FIELDS:
        raise ValueError("the set of fields is not the schema's")
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']!r} is not {SCHEMA!r}")
    for name in _TEXT:
        text = data[name]
        plain = isinstance(text, str) and len(text) <= _MAX_TEXT and is_plain_text(text)
        _require(plain, f"{name} is not a short text without control characters")
    _require(_NAME.fullmatch(data["robot"]) is not None, "robot is not a plain name")
    _require(_NAME.fullmatch(data["attempt"]) is not None, "attempt is not a plain name")
    _require(type(data["frames"]) is int and 0 < data["frames"] <= _MAX_FRAMES, "frames is not a sensible count")
    for name in ("started_at", "rate_hz"):
        _require(type(data[name]) in (int, float) and 0 < data[name] < 1e11, f"{name} is not a positive number")
    segments = tuple(Segment(**segment) for segment in data["segments"])
    _require(_covers(segments, data["frames"]), "segments do not cover the frames one after another")
    outcome = Outcome(**data["outcome"])
    _require(type(outcome.success) is bool and type(outcome.autonomous) is bool, "outcome is not true or false")
    _require(outcome.source in get_args(OutcomeSource), f"outcome source {outcome.source!r} is unknown")
    stops = outcome.safety_stops
    _require(type(stops) is int and 0 <= stops <= _MAX_STOPS, "the number of safety stops is not a sensible count")
    policies = tuple(data["policies"])
    _require(all(isinstance(p, str) and _HEX.fullmatch(p) for p in policies), "a policy is not a digest")
    files = {str(name): FileEntry(**entry) for name, entry in data["files"].items()}
    _require(STEPS_FILE in files, f"{STEPS_FILE} is missing")
    for name, entry in files.items():
        _require(_FILE.fullmatch(name) is not None, f"file name {name!r} is not allowed")
        _require(type(entry.size) is int and 0 <= entry.size <= _MAX_FILE_BYTES, f"size of {name} is not a count")
        _require(isinstance(entry.sha256, str) and bool(_HEX.fullmatch(entry.sha256)), f"{name} has no SHA-256")
    return {**data, "segments": segments, "outcome": outcome, "policies": policies, "files": files}


def _covers(segments: tuple[Segment, ...], frames: int) -> bool:
    position = 0
    for segment in segments:
        if segment.kind not in get_args(SegmentKind) or {type(segment.start), type(segment.end)} != {int}:
            return False
        if segment.start != position or segment.end <= segment.start:
            return False
        position = segment.end
    return position == frames


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
