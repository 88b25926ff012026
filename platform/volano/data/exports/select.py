"""Which ticks of a dataset version leave it for other code bases: what may be imitated, in runs without a gap; pure.

The rule is that of training (`volano.data.sample.usable_ticks`): every tick that an expert drove, whatever became of
the attempt, and autonomous ticks only of attempts that succeeded without help; but for what the version skips. Foreign
formats cannot say of a tick that it failed, so what may not be imitated is left out; nothing is ever marked as a bad
example.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from volano.data.episode import Outcome, Segment
from volano.data.sample import usable_ticks
from volano.data.spans import Spans

OWN_EPISODES = "volano/episodes.parquet"
"""Below a robot's folder of a version: what `attempts` reads."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What is known of an episode of a version without its frames."""

    number: int
    """Its place in the robot's dataset."""
    content_id: str
    segments: tuple[Segment, ...]
    skipped: Spans
    """Ticks that its version takes no sample from."""
    outcome: Outcome
    weight: float

    @property
    def frames(self) -> int:
        """Its ticks."""
        return self.segments[-1].end


@dataclass(frozen=True, kw_only=True)
class Run:
    """Ticks [start, end) of an attempt, which become an episode of the export."""

    attempt: Attempt
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def whole(self) -> bool:
        """Whether it is all of its attempt."""
        return len(self) == self.attempt.frames


def attempts(folder: Path) -> list[Attempt]:
    """Every episode of one robot's dataset in a version's folder, in order."""
    return [_attempt(row) for row in pq.read_table(folder / OWN_EPISODES).to_pylist()]


def _attempt(row: dict[str, Any]) -> Attempt:
    return Attempt(
        number=row["episode_index"],
        content_id=row["content_id"],
        segments=tuple(Segment(**segment) for segment in row["segments"]),
        skipped=tuple((span["start"], span["end"]) for span in row["skipped"]),
        outcome=Outcome(success=row["success"], autonomous=row["autonomous"], source=row["outcome_source"]),
        weight=row["weight"],
    )


def runs(found: Sequence[Attempt]) -> list[Run]:
    """What may be imitated, in order; neighbouring ticks of one attempt are in one run."""
    return [run for attempt in found for run in _runs(attempt)]


def _runs(attempt: Attempt) -> list[Run]:
    lengths = [segment.end - segment.start for segment in attempt.segments]
    kinds = np.repeat([segment.kind for segment in attempt.segments], lengths)
    succeeded = attempt.outcome.success and attempt.outcome.autonomous
    ticks = usable_ticks([kinds], [succeeded], [attempt.skipped]).ticks
    pieces = np.split(ticks, np.flatnonzero(np.diff(ticks) > 1) + 1) if len(ticks) else []
    return [Run(attempt=attempt, start=int(piece[0]), end=int(piece[-1]) + 1) for piece in pieces]
