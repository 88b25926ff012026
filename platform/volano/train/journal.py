"""The local journal of a run's metrics: append-only JSON lines, each with a checksum. Tracking is a projection of it.

A line is durable within a second of being appended; a torn or damaged line is skipped, never fatal. A step that was
written twice (before and after a crash) counts once, the later line wins.
"""

import json
import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

_SYNC_EVERY_S = 1.0


class Journal:
    """One run's metrics on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("ab")
        self._synced = 0.0
        if self._stream.tell() and not _ends_with_newline(path):
            self._stream.write(b"\n")

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of one step of the whole run."""
        text = json.dumps({"step": step, "time": time.time(), "metrics": dict(metrics)}, sort_keys=True)
        self._stream.write(f"{zlib.crc32(text.encode()):08x} {text}\n".encode())
        self._stream.flush()
        if time.monotonic() - self._synced > _SYNC_EVERY_S:
            os.fsync(self._stream.fileno())
            self._synced = time.monotonic()


def read_journal(path: Path) -> list[tuple[int, float, dict[str, float]]]:
    """Every believable point as (step, Unix time in seconds, metrics), by step."""
    points: dict[int, tuple[float, dict[str, float]]] = {}
    for line in path.read_bytes().splitlines():
        checksum, _, text = line.partition(b" ")
        if checksum != f"{zlib.crc32(text):08x}".encode():
            continue
        point = json.loads(text)
        points[point["step"]] = (point["time"], point["metrics"])
    return [(step, at, metrics) for step, (at, metrics) in sorted(points.items())]


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
