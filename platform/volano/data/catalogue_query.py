"""Questions to the catalogue: which of the episodes that may be trained on a person means, read by column."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from volano.data.catalogue import BELIEVED
from volano.data.catalogue_rows import EPISODES
from volano.data.pages import pages, read
from volano.data.verdict import owner
from volano.errors import Code, DataError
from volano.storage.store import ObjectStore

Ending = Literal["success", "failure", "unknown"]
"""Failure: of an attempt that ended so, with help or without. Unknown: nobody saw its end."""
SHOWN = (
    *("upload", "content_id", "robot", "attempt", "embodiment", "fingerprint", "task", "instruction", "started_at"),
    *("rate_hz", "frames", "success", "autonomous", "outcome_source", "policies", "rollout", "arm", "bytes"),
    "readmitted",
)
"""Columns that tell of an episode what a person asks for."""
_EQUAL = ("robot", "task", "instruction", "embodiment", "rollout", "arm")


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which episodes: those that every given condition holds for; empty holds for all."""

    robot: str = ""
    task: str = ""
    instruction: str = ""
    embodiment: str = ""
    rollout: str = ""
    arm: str = ""
    source: str = ""
    """Who says how it ended."""
    outcome: str = ""
    """One of `Ending`."""
    policy: str = ""
    """Digest, or how one begins, of a policy that acted in it."""
    since: float = float("-inf")
    """Begun then or later, Unix time in seconds by the robot's clock."""
    until: float = float("inf")
    """Begun before."""

    def condition(self) -> pc.Expression:
        """All of it but the policy; raises DataError(E-DATA-106) for an outcome that there is not."""
        found = BELIEVED & (pc.field("started_at") >= self.since) & (pc.field("started_at") < self.until)
        for name in _EQUAL:
            if value := getattr(self, name):
                found &= pc.field(name) == value
        if self.source:
            found &= pc.field("outcome_source") == self.source
        if self.outcome:
            found &= _ending(self.outcome)
        return found


def find(store: ObjectStore, query: Query) -> Iterator[pa.Table]:
    """What `SHOWN` names of the episodes that a person means, page by page in order of their discovery. What was judged
    since the last ingest ended is not among them. Raises DataError: E-DATA-105 when the catalogue is damaged,
    E-DATA-106."""
    for rows in read(store, EPISODES, pages(store, EPISODES), columns=SHOWN, where=query.condition()):
        yield _acted(rows, query.policy) if query.policy else rows


def summary(found: list[pa.Table]) -> dict[str, Any]:
    """Number, frames, seconds, bytes, and number by robot, of rows with these columns."""
    rows = pa.concat_tables(found) if found else EPISODES.schema.empty_table()
    seconds = pc.sum(pc.divide(pc.cast(rows["frames"], pa.float64()), rows["rate_hz"])).as_py()
    robots = (
        rows.select(["robot"])
        .cast(pa.schema([("robot", pa.string())]))
        .group_by("robot")
        .aggregate([([], "count_all")])
    )
    return {
        "episodes": len(rows),
        "frames": pc.sum(rows["frames"]).as_py() or 0,
        "hours": (seconds or 0.0) / 3600,
        "bytes": pc.sum(rows["bytes"]).as_py() or 0,
        "robots": dict(sorted(zip(robots["robot"].to_pylist(), robots["count_all"].to_pylist(), strict=True))),
    }


def _ending(outcome: str) -> pc.Expression:
    if outcome not in get_args(Ending):
        raise DataError(
            Code.DATA_QUERY, f"there is no outcome {outcome!r}", f"ask for one of {', '.join(get_args(Ending))}"
        )
    unknown = pc.field("outcome_source") == "repair"
    if outcome == "unknown":
        return unknown
    return ~unknown & (pc.field("success") if outcome == "success" else ~pc.field("success"))


def _acted(rows: pa.Table, policy: str) -> pa.Table:
    """Rows of episodes in which a policy acted whose digest begins so."""
    column = rows["policies"].combine_chunks()
    acted = pc.starts_with(pc.list_flatten(column), policy)
    return rows.take(pc.unique(pc.list_parent_indices(column).filter(acted)))


def uploads_of(store: ObjectStore, contents: Collection[str]) -> dict[str, str]:
    """Content to the upload that owns it, empty when none does: from the catalogue where it has a row."""
    where = BELIEVED & pc.field("content_id").isin(pa.array(sorted(contents), pa.string()))
    found: dict[str, str] = {}
    for rows in read(store, EPISODES, pages(store, EPISODES), columns=("content_id", "upload"), where=where):
        found |= zip(rows["content_id"].to_pylist(), rows["upload"].to_pylist(), strict=True)
    return {content: found.get(content) or owner(store, content) for content in contents}
