"""The local journal of a run's metrics: append-only JSON lines, each with a checksum. Tracking is a projection of it.

A line is durable once it is appended: a run goes on behind its newest checkpoint and never makes the lines before it
again. A torn or damaged line is skipped, never fatal. A step that was
written twice (before and after a crash) counts once, the later line wins.
"""

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Point = tuple[int, float, dict[str, float]]
"""Step of the whole run, Unix time in seconds, metrics."""


class Journal:
    """One run's metrics on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("ab")
        if self._stream.tell() and not _ends_with_newline(path):
            self._stream.write(b"\n")

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of one step of the whole run."""
        text = json.dumps({"step": step, "time": time.time(), "metrics": dict(metrics)}, sort_keys=True)
        self._stream.write(f"{zlib.crc32(text.encode()):08x} {text}\n".encode())
        self._stream.flush()
        os.fsync(self._stream.fileno())


def read_journal(path: Path) -> list[Point]:
    """Every believable point as (step, Unix time in seconds, metrics), by step."""
    points = {point[0]: point for point in _believed(path.read_bytes())}
    return [point for _, point in sorted(points.items())]


def behind(points: Sequence[Point]) -> list[Point]:
    """Of points in order of their steps, those up to where the run is: what was written before it went back to a
    checkpoint, and not yet again, lies ahead of it. The last one is the newest."""
    newest = max((at for _, at, _ in points), default=0.0)
    step = max((step for step, at, _ in points if at == newest), default=-1)
    return [point for point in points if point[0] <= step]


class JournalTail:
    """Reads a journal that is being written: each look gives what was added since the one before."""

    def __init__(self, path: Path) -> None:
        """The file may come later."""
        self._path = path
        self._read = 0
        self._highest = -1

    def look(self) -> list[Point]:
        """New points in order of their steps. A step that is written again after a crash is not new: of it the first
        line counts here, so that what was told once is never told otherwise."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as stream:
            stream.seek(self._read)
            added = stream.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        fresh = []
        for point in _believed(whole):
            if point[0] > self._highest:
                self._highest = point[0]
                fresh.append(point)
        return fresh


def _believed(data: bytes) -> Iterator[Point]:
    for line in data.splitlines():
        checksum, _, text = line.partition(b" ")
        if checksum == f"{zlib.crc32(text):08x}".encode():
            point = json.loads(text)
            yield point["step"], point["time"], point["metrics"]


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
