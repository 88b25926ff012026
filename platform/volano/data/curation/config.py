"""What a curation asks for: thresholds and weights, as frozen data. The defaults take out copies and standing still.

What compares episodes with each other by quality is off until somebody asks for it: a share of nothing is dropped.
"""

from dataclasses import asdict, dataclass, field

from volano.errors import Code, ConfigError


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """An episode is a near duplicate of one that is kept when both distances are below these; 0 looks for none."""

    motion: float = 0.15
    """Distance of states and actions, 0 to 2."""
    pictures: float = 0.1
    """Share of the bits of picture hashes."""


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Which standing still is skipped."""

    shortest_s: float = 1.0
    """Stretches this long and longer; 0 skips none."""
    kept_s: float = 0.5
    """How much of a stretch stays before and after the motion that it adjoins."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How often the ticks of an episode are drawn, relative to one of weight 1; they multiply."""

    intervention: int = 3
    """Of an attempt of a policy in which a person helped: as often as the flywheel draws it."""
    novel: int = 1
    """Of the most novel episodes of a task."""


@dataclass(frozen=True, kw_only=True)
class Curation:
    """One curation."""

    duplicates: Duplicates = field(default_factory=Duplicates)
    idle: Idle = field(default_factory=Idle)
    swapped_cameras: float = 0.05
    """An episode shows two cameras exchanged when that brings its pictures nearer to the others' by this share of the
    bits of picture hashes; 0 looks for none."""
    drop_roughest: float = 0.0
    """Share of a task's episodes, the least smooth first."""
    drop_least_informative: float = 0.0
    """Share of a task's episodes, those first that add least to the information between states and actions."""
    most_episodes: int = 0
    """Of one embodiment, those that cover its states and actions best; 0 for any number."""
    novel_share: float = 0.1
    """Share of a task's episodes that count as novel."""
    weights: Weights = field(default_factory=Weights)
    floor: int = 1
    """Episodes of each task of each embodiment that stay whatever the rules say, as far as there are so many."""

    def __post_init__(self) -> None:
        shares = self.swapped_cameras, self.drop_roughest, self.drop_least_informative, self.novel_share
        lengths = [*asdict(self.duplicates).values(), *asdict(self.idle).values()]
        problems = [
            (not all(0 <= share < 1 for share in shares), "a share is not within [0, 1)"),
            (not all(0 <= length < 1e6 for length in lengths), "a distance or time is not 0 or more"),
            (
                not all(1 <= weight <= 100 for weight in asdict(self.weights).values()),
                "a weight is not within 1 to 100",
            ),
            (self.most_episodes < 0, "most_episodes is negative"),
            (self.floor < 1, "floor is below 1: a task would be left without any episode"),
        ]
        for wrong, what in problems:
            if wrong:
                raise ConfigError(Code.CONFIG_VALUE, f"the curation's {what}", "correct the value")
