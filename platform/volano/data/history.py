"""Which versions there are and which of them hold an episode, from what each changed over its parent.

The changes are a log of the catalogue, a projection as all of it: a version without rows is read from its record. A
version that holds a million episodes and adds one is one row, so that following an episode reads no list of a million.
"""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from volano.data.pages import Log, Page, append, pages, read
from volano.data.version import DatasetVersion, load, names, parents_first
from volano.storage.store import ObjectStore

VERSIONS = Log(
    prefix="catalogue/versions-2/",
    schema=pa.schema(
        [
            ("version", pa.string()),
            ("parent", pa.string()),
            ("reason", pa.string()),
            ("embodiments", pa.list_(pa.string())),
            ("episodes", pa.int64()),
            ("content_id", pa.string()),
            ("weight", pa.float64()),
        ]
    ),
    repeated=("version", "parent", "reason"),
)
"""For each version one row with its number of episodes and no content, and one for each episode that its parent does
not hold or holds with another weight; weight 0 for one that only its parent holds. Parents before children."""


_CHANGES = pa.schema(
    [("version", pa.dictionary(pa.int32(), pa.string())), ("content_id", pa.string()), ("weight", pa.float64())]
)


@dataclass(frozen=True, kw_only=True)
class VersionHead:
    """A version without its episodes."""

    id: str
    parent: str
    reason: str
    embodiments: tuple[str, ...]
    """Tags, in order."""
    episodes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """Every version, and what each changed."""

    heads: tuple[VersionHead, ...]
    """Parents before children."""
    changes: pa.Table
    """Columns of the log: version, content_id, weight."""

    @classmethod
    def of(cls, versions: Iterable[DatasetVersion]) -> Self:
        """Of versions as they are; parents come before children, and one that is missing counts as empty."""
        known: dict[str, DatasetVersion] = {}
        rows: list[dict[str, Any]] = []
        for version in versions:
            rows += _rows(version, known.get(version.parent))
            known[version.id] = version
        return cls.from_rows([pa.Table.from_pylist(rows, VERSIONS.schema)])

    @classmethod
    def from_rows(cls, pieces: Iterable[pa.Table]) -> Self:
        """Of rows of the log, in order."""
        heads, changes = list[VersionHead](), [_CHANGES.empty_table()]
        for rows in pieces:
            told = rows.filter(pc.is_valid(rows["episodes"])).drop_columns(["content_id", "weight"]).to_pylist()
            heads += [
                VersionHead(id=one.pop("version"), embodiments=tuple(one.pop("embodiments")), **one) for one in told
            ]
            changes.append(rows.filter(pc.is_valid(rows["content_id"])).select(_CHANGES.names).cast(_CHANGES))
        return cls(heads=tuple(heads), changes=pa.concat_tables(changes))

    def head(self, version: str) -> VersionHead | None:
        """The version of this identifier."""
        return next((one for one in self.heads if one.id == version), None)

    def holding(self, contents: Collection[str]) -> dict[str, Mapping[str, float]]:
        """Version to those of the contents that it holds, with their weights, for versions that hold any; in order."""
        wanted = pa.array(sorted(contents), pa.string())
        rows = self.changes.filter(pc.is_in(self.changes["content_id"], value_set=wanted))
        changed: dict[str, dict[str, float]] = {}
        for row in rows.select(["version", "content_id", "weight"]).to_pylist():
            changed.setdefault(row["version"], {})[row["content_id"]] = row["weight"]
        held: dict[str, Mapping[str, float]] = {}
        for head in self.heads:
            before, news = held.get(head.parent, {}), changed.get(head.id, {})
            after = {content: weight for content, weight in {**before, **news}.items() if weight} if news else before
            held[head.id] = after
        return {version: weights for version, weights in held.items() if weights}

    def ancestors(self, version: str) -> tuple[str, ...]:
        """A version's parent, its parent's, and so on; it ends where one is not known."""
        parents = {head.id: head.parent for head in self.heads}
        found: list[str] = []
        while (version := parents.pop(version, "")) in parents:
            found.append(version)
        return tuple(found)


def history(store: ObjectStore) -> History:
    """Of every committed version. Raises DataError(E-DATA-105) when the catalogue is damaged."""
    known = list(read(store, VERSIONS, pages(store, VERSIONS)))
    there = pa.array(names(store), pa.string())
    late = _late(store, {name for rows in known for name in rows["version"].unique().to_pylist()})
    return History.from_rows(rows.filter(pc.is_in(rows["version"], value_set=there)) for rows in (*known, late))


def remember(store: ObjectStore) -> None:
    """Add the rows of every committed version that has none. Safe to repeat, and to do at the same time."""
    while True:
        found = pages(store, VERSIONS)
        late = _late(store, _known(store, found))
        if not len(late) or append(store, VERSIONS, found, late):
            return


def remember_child(store: ObjectStore, version: DatasetVersion, parent: DatasetVersion | None) -> None:
    """Add the rows of a version that was just committed. Where others have none, as their writer was killed or the log
    was removed, all are added: parents come before children."""
    while True:
        found = pages(store, VERSIONS)
        known = _known(store, found)
        if version.id in known:
            return
        if {*names(store)} - known != {version.id}:
            remember(store)
            return
        if append(store, VERSIONS, found, pa.Table.from_pylist(_rows(version, parent), VERSIONS.schema)):
            return


def _known(store: ObjectStore, found: Sequence[Page]) -> set[str]:
    """Versions that have rows."""
    pieces = read(store, VERSIONS, found, columns=("version",))
    return {name for rows in pieces for name in rows["version"].unique().to_pylist()}


def _late(store: ObjectStore, known: Container[str]) -> pa.Table:
    """Rows of committed versions that are not known."""
    there = names(store)
    late = parents_first(load(store, name) for name in there if name not in known)
    parents = {version.id: version for version in late}
    rows: list[dict[str, Any]] = []
    for version in late:
        if version.parent in there and version.parent not in parents:
            parents[version.parent] = load(store, version.parent)
        rows += _rows(version, parents.get(version.parent))
    return pa.Table.from_pylist(rows, VERSIONS.schema)


def _rows(version: DatasetVersion, parent: DatasetVersion | None) -> list[dict[str, Any]]:
    before = {one.content_id: one.weight for one in parent.episodes} if parent is not None else {}
    after = {one.content_id: one.weight for one in version.episodes}
    changed = [content for content in after if before.get(content) != after[content]]
    gone = sorted(before.keys() - after.keys())
    head = {"parent": version.parent, "reason": version.reason, "embodiments": sorted(version.embodiments)}
    return [
        {"version": version.id, **head, "episodes": len(after)},
        *({"version": version.id, "content_id": one, "weight": after.get(one, 0.0)} for one in (*changed, *gone)),
    ]
