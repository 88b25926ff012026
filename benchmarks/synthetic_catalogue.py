"""A catalogue of as many episodes as wanted, without their objects; and some that have all of theirs."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from volano.data.catalogue_rows import EPISODES
from volano.data.episode import SCHEMA, FileEntry, Manifest, Outcome, Segment
from volano.data.history import VERSIONS
from volano.data.pages import append, pages
from volano.data.verdict import Verdict, claim_key, verdict_key
from volano.embodiment.shipped import SCOUT
from volano.storage.content import canonical_json, sha256_bytes
from volano.storage.store import ObjectStore

ROBOTS, TASKS, INSTRUCTIONS, POLICIES = 200, 40, 300, 20
_PAGE = 1 << 14


def fill(store: ObjectStore, count: int, seed: int) -> list[str]:
    """Append rows of `count` accepted episodes; their contents."""
    contents: list[str] = []
    for number, size in enumerate(_sizes(count)):
        rows = _rows(np.random.default_rng((seed, number)), size, number * _PAGE)
        assert append(store, EPISODES, pages(store, EPISODES), rows)
        contents += rows["content_id"].to_pylist()
    return contents


def versions(store: ObjectStore, contents: list[str], count: int) -> None:
    """Versions, each the child of the one before: the first holds nearly all contents, each other one 100 more."""
    parent, base = "", len(contents) - 100 * (count - 1)
    for number in range(count):
        name = sha256_bytes(f"version {number}".encode())
        news = contents[:base] if number == 0 else contents[base + 100 * (number - 1) : base + 100 * number]
        head = {"version": name, "parent": parent, "reason": "more", "embodiments": [SCOUT.tag]}
        rows = pa.table(
            {"version": [name] * len(news), "content_id": news, "weight": np.ones(len(news))},
        )
        blank = {field.name: pa.nulls(len(news), field.type) for field in VERSIONS.schema}
        filled = pa.table({**blank, **{column: rows[column] for column in rows.column_names}}, schema=VERSIONS.schema)
        first = pa.Table.from_pylist([{**head, "episodes": base + 100 * number}], VERSIONS.schema)
        assert append(store, VERSIONS, pages(store, VERSIONS), pa.concat_tables([first, filled]))
        store.put_new(f"datasets/{name}/version.json", b"{}")
        parent = name


def with_objects(store: ObjectStore, count: int, seed: int) -> list[str]:
    """Verdict, claim and manifest of `count` accepted episodes that have no row yet; keys of the verdicts."""
    keys = []
    for number in range(count):
        files = {
            name: FileEntry(size=200_000, sha256=sha256_bytes(f"{seed} {number} {name}".encode()))
            for name in ("steps.parquet", "camera.wrist.mp4")
        }
        manifest = Manifest(
            schema=SCHEMA,
            attempt=f"attempt-{seed}-{number:08d}",
            robot="robot-0000",
            embodiment=SCOUT.tag,
            fingerprint=SCOUT.fingerprint,
            task="task 0",
            instruction="do it",
            started_at=1.7e9 + number,
            rate_hz=SCOUT.rate_hz,
            frames=300,
            segments=(Segment(start=0, end=300, kind="autonomous"),),
            outcome=Outcome(success=True, autonomous=True, source="script"),
            policies=("ab" * 32,),
            rollout="",
            arm="",
            files=files,
        )
        upload, content = f"uploads/{manifest.robot}/{manifest.attempt}.json", manifest.content_id
        verdict = Verdict(upload=upload, content_id=content, verdict="accepted", code="", evidence="")
        store.put_new(upload, manifest.to_bytes())
        store.put_new(claim_key(content), canonical_json({"upload": upload}))
        store.put_new(verdict_key(upload), verdict.to_bytes())
        keys.append(verdict_key(upload))
    return keys


def _sizes(count: int) -> Iterator[int]:
    for start in range(0, count, _PAGE):
        yield min(_PAGE, count - start)


def _rows(rng: np.random.Generator, count: int, first: int) -> pa.Table:
    robots, places = rng.integers(ROBOTS, size=count), np.arange(first, first + count)
    frames = rng.integers(100, 600, count)
    attempts = pa.array([f"attempt-{number:08d}" for number in places])
    texts = {
        "robot": _named("robot-{:04d}", robots),
        "task": _named("task {}", rng.integers(TASKS, size=count)),
        "instruction": _named("do number {} with care", rng.integers(INSTRUCTIONS, size=count)),
        "safety_stops": np.zeros(count, np.int64),
        "outcome_source": pa.array(np.array(["operator", "script", "judge"])[rng.integers(3, size=count)]),
        **{name: _constant(text, count) for name, text in _CONSTANT.items()},
    }
    uploads = pa.compute.binary_join_element_wise("uploads", texts["robot"], attempts, "/")
    lengths = pa.array(np.arange(count + 1, dtype=np.int32))
    segments = pa.StructArray.from_arrays(
        [np.zeros(count, np.int64), frames, _constant("autonomous", count)], names=["start", "end", "kind"]
    )
    names, sizes = (
        pa.array(np.tile(["camera.wrist.mp4", "steps.parquet"], count)),
        rng.integers(10**5, 10**6, 2 * count),
    )
    files = pa.StructArray.from_arrays(
        [names, pa.array(sizes), _digests(rng, 2 * count)], names=["name", "size", "sha256"]
    )
    columns = {
        **texts,
        "upload": pa.compute.binary_join_element_wise(uploads, ".json", ""),
        "attempt": attempts,
        "content_id": _digests(rng, count),
        "readmitted": np.zeros(count, np.bool_),
        "started_at": 1.7e9 + places * 3.0 + rng.random(count),
        "rate_hz": np.full(count, SCOUT.rate_hz),
        "frames": frames,
        "segments": pa.ListArray.from_arrays(lengths, segments),
        "success": rng.random(count) < 0.7,
        "autonomous": rng.random(count) < 0.8,
        "policies": pa.ListArray.from_arrays(lengths, _named("{:064x}", rng.integers(POLICIES, size=count))),
        "files": pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * count + 1, 2, dtype=np.int32)), files),
        "bytes": sizes.reshape(count, 2).sum(axis=1),
    }
    return pa.table({field.name: columns[field.name] for field in EPISODES.schema}).cast(EPISODES.schema)


_CONSTANT = {
    "verdict": "accepted",
    "code": "",
    "evidence": "",
    "schema": SCHEMA,
    "embodiment": SCOUT.tag,
    "fingerprint": SCOUT.fingerprint,
    "rollout": "",
    "arm": "",
}


def _constant(text: str, count: int) -> pa.Array:
    return pa.array([text]).take(pa.array(np.zeros(count, np.int64)))


def _named(pattern: str, numbers: NDArray[np.int64]) -> pa.Array:
    return pa.array([pattern.format(number) for number in range(int(numbers.max()) + 1)]).take(pa.array(numbers))


def _digests(rng: np.random.Generator, count: int) -> pa.Array:
    return pa.array(np.frombuffer(rng.bytes(32 * count).hex().encode(), "S64")).cast(pa.string())
