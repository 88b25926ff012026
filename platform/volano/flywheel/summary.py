"""What a turn of the flywheel has to tell, as plain data: the report that the page is made from.

Counts go in, never percentages or intervals: those are computed where they are shown, so that a report cannot
contradict itself. A part that does not exist is `Missing` with its reason, never an empty space.
"""

from dataclasses import dataclass
from typing import Literal

from volano.data.conservation import Counts

Role = Literal["policy", "baseline", "expert"]
PAIRS = "pairs of episodes"


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A part of the report that there is not."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One figure that a reader should take away."""

    figure: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Success:
    """How often one actor succeeded in one group of evaluation episodes."""

    group: str
    """Embodiment tag, family, or any other set of episodes; rows of one group are shown together."""
    actor: str
    """For example `round 1`, `mean action` or `scripted expert`."""
    role: Role
    """The expert is the ceiling, a baseline is what any policy must beat."""
    successes: int
    episodes: int


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Where the uploads stood at one moment."""

    moment: str
    """For example `after round 1`."""
    counts: Counts


@dataclass(frozen=True, kw_only=True)
class Video:
    """One recorded attempt."""

    path: str
    """Relative to the page's folder, `/`-separated."""
    robot: str
    task: str
    actor: str
    """Who acted, for example `round 2` or `expert`."""
    success: bool


@dataclass(frozen=True, kw_only=True)
class EvidencePath:
    """One log e-value after each piece of evidence."""

    name: str
    claim: str
    """What crossing the threshold says."""
    values: tuple[float, ...]
    needed: float
    """Threshold, log(1 / alpha)."""
    pieces: str
    """What the pieces of evidence are; verdicts are marked where these are pairs of episodes."""


@dataclass(frozen=True, kw_only=True)
class VerdictMark:
    """A verdict that changed a rollout's state."""

    pairs: int
    """Pairs of episodes seen by then."""
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RolloutStory:
    """How one rollout went."""

    id: str
    current: str
    """Digest."""
    candidate: str
    """Digest."""
    paths: tuple[EvidencePath, ...]
    marks: tuple[VerdictMark, ...]
    looks: int
    """Verdicts in all, those that held included."""
    numbers: dict[str, float]
    """Of the last verdict."""


@dataclass(frozen=True, kw_only=True)
class RobotUploads:
    """What one robot gave to a dataset version."""

    robot: str
    uploads: tuple[str, ...]
    """Keys in the object store."""


@dataclass(frozen=True, kw_only=True)
class DatasetStory:
    """One dataset version."""

    version: str
    parent: str
    """Identifier of the version before; empty for the first."""
    reason: str
    robots: tuple[RobotUploads, ...]


@dataclass(frozen=True, kw_only=True)
class PolicyStory:
    """Where one policy came from."""

    digest: str
    name: str
    parent: str
    """Digest of the policy it was trained from; empty for none."""
    datasets: tuple[DatasetStory, ...]


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """How long one step took."""

    step: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """The training loss of one run or stage."""

    name: str
    points: tuple[tuple[int, float], ...]
    """(step, loss), steps rising."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One condition of the gate."""

    name: str
    found: str
    needed: str
    met: bool


@dataclass(frozen=True, kw_only=True)
class GateStory:
    """What the gate said about one policy."""

    policy: str
    passed: bool
    reason: str
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True, kw_only=True)
class Door:
    """A place to look further."""

    name: str
    address: str
    command: str
    """What to type to open it; empty when the address alone is enough."""


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """Everything the page shows."""

    title: str
    made: str
    """When, on what machine and from which revision of the code, in words."""
    headlines: tuple[Headline, ...]
    success: tuple[Success, ...] | Missing
    intake: tuple[Intake, ...] | Missing
    gates: tuple[GateStory, ...] | Missing
    rollouts: tuple[RolloutStory, ...] | Missing
    videos: tuple[Video, ...] | Missing
    training: tuple[LossCurve, ...] | Missing
    lineage: tuple[PolicyStory, ...] | Missing
    timings: tuple[StepTime, ...] | Missing
    doors: tuple[Door, ...] | Missing
