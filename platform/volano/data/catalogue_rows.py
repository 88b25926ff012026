"""Rows of the catalogue: what was judged, with the verdict's words and, of what may be trained on, the manifest's.

Pure. A row says all that its objects say, so that neither has to be read again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from volano.data.episode import FileEntry, Manifest, Outcome, Segment
from volano.data.pages import Log
from volano.data.verdict import Verdict
from volano.errors import Code, DataError

_TEXT, _DIGEST = pa.string(), pa.string()
_SEGMENT = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("kind", _TEXT)])
_FILE = pa.struct([("name", _TEXT), ("size", pa.int64()), ("sha256", _DIGEST)])
_PLAIN = ("schema", "attempt", "robot", "embodiment", "fingerprint", "task", "instruction", "started_at", "rate_hz")
_COPIED = (*_PLAIN, "frames", "rollout", "arm")
"""Fields of a manifest that are columns as they are."""
EPISODES = Log(
    prefix="catalogue/episodes-3/",
    schema=pa.schema(
        [
            ("upload", _TEXT),
            ("content_id", _DIGEST),
            ("verdict", _TEXT),
            ("code", _TEXT),
            ("evidence", _TEXT),
            ("readmitted", pa.bool_()),
            ("schema", _TEXT),
            ("attempt", _TEXT),
            ("robot", _TEXT),
            ("embodiment", _TEXT),
            ("fingerprint", _TEXT),
            ("task", _TEXT),
            ("instruction", _TEXT),
            ("started_at", pa.float64()),
            ("rate_hz", pa.float64()),
            ("frames", pa.int64()),
            ("rollout", _TEXT),
            ("arm", _TEXT),
            ("segments", pa.list_(_SEGMENT)),
            ("success", pa.bool_()),
            ("autonomous", pa.bool_()),
            ("outcome_source", _TEXT),
            ("safety_stops", pa.int64()),
            ("policies", pa.list_(_TEXT)),
            ("files", pa.list_(_FILE)),
            ("bytes", pa.int64()),
        ]
    ),
    repeated=(
        *("verdict", "code", "schema", "robot", "embodiment", "fingerprint", "task", "instruction", "rollout", "arm"),
        "outcome_source",
    ),
)
"""One row per verdict, and another one for the same upload when a person let it in; in the order of their discovery.
`bytes` is the sum of the files' sizes. Columns of the manifest are null unless the episode may be trained on."""


_SAID = ("upload", "content_id", "verdict", "code", "evidence")
VERDICT = (*_SAID, "readmitted")
"""Columns that `verdicts` needs."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of an upload, as its objects say."""

    verdict: Verdict
    manifest: Manifest | None
    """Of what was accepted or let in."""
    readmitted: bool


def table(rows: Iterable[Judged]) -> pa.Table:
    """Rows of the log."""
    return pa.Table.from_pylist([_row(one) for one in rows], EPISODES.schema)


def verdicts(rows: pa.Table) -> Iterator[Verdict]:
    """Every verdict among rows; needs the columns VERDICT."""
    for *said, readmitted in zip(*(rows[name].to_pylist() for name in VERDICT), strict=True):
        if not readmitted:
            yield Verdict(**dict(zip(_SAID, said, strict=True)))


def manifests(rows: pa.Table) -> Iterator[Manifest]:
    """The manifest of every row, which has one; needs all columns. Raises DataError(E-DATA-105) for one that is not of
    the row's content."""
    for batch in rows.to_batches(max_chunksize=1 << 14):
        for row in batch.to_pylist():
            manifest = _manifest(row)
            if manifest.content_id != row["content_id"]:
                raise DataError(
                    Code.DATA_CATALOGUE,
                    f"the catalogue contradicts itself about {row['upload']}",
                    f"remove everything under {EPISODES.prefix} in the store: the next ingest makes it again",
                )
            yield manifest


def _row(one: Judged) -> dict[str, Any]:
    row: dict[str, Any] = {**asdict(one.verdict), "readmitted": one.readmitted}
    manifest = one.manifest
    if manifest is None:
        return row
    return row | {
        **{name: getattr(manifest, name) for name in _COPIED},
        "segments": [asdict(segment) for segment in manifest.segments],
        "success": manifest.outcome.success,
        "autonomous": manifest.outcome.autonomous,
        "outcome_source": manifest.outcome.source,
        "safety_stops": manifest.outcome.safety_stops,
        "policies": list(manifest.policies),
        "files": [{"name": name, **asdict(entry)} for name, entry in sorted(manifest.files.items())],
        "bytes": sum(entry.size for entry in manifest.files.values()),
    }


def _manifest(row: dict[str, Any]) -> Manifest:
    return Manifest(
        **{name: row[name] for name in _COPIED},
        segments=tuple(Segment(**segment) for segment in row["segments"]),
        outcome=Outcome(
            success=row["success"],
            autonomous=row["autonomous"],
            source=row["outcome_source"],
            safety_stops=row["safety_stops"],
        ),
        policies=tuple(row["policies"]),
        files={file["name"]: FileEntry(size=file["size"], sha256=file["sha256"]) for file in row["files"]},
    )
