"""The access log: a line of JSON for each request of a known robot, written by a thread that no answer waits for.

It is bounded on the disk, by files that take turns (`access.jsonl`, before it `access.1.jsonl`, …), and in memory: what
a disk that hangs cannot take is dropped and counted. A kill costs the lines of its last moment. Guardrails on times and
held requests are judged by it: episodes whose lines are gone bring them no measure.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from serving.routes import Access
from volano.data.lines import numbered
from volano.storage.content import canonical_json

_LOG = logging.getLogger(__name__)
_FILES = 8
"""That share what the log may have of the disk."""
_MAX_WAITING = 10_000
_MAX_AT_ONCE = 100
"""Lines, in less than a file has."""
_LEAVE_S = 5.0


class AccessFile:
    """Call it with a request to append it, from the gateway's loop; never blocks."""

    def __init__(self, path: Path, max_bytes: int, dropped: Callable[[int], None]) -> None:
        """`max_bytes`: of all its files together. `dropped` is told how many lines were lost, by any thread."""
        self._path = path
        self._file_bytes = max_bytes // _FILES
        self._dropped = dropped
        self._waiting: queue.SimpleQueue[Access | None] = queue.SimpleQueue()
        self._descriptor = self._open()
        self._failing = False
        self._thread = threading.Thread(target=self._work, name="access-log", daemon=True)
        self._thread.start()

    def __call__(self, record: Access) -> None:
        if self._waiting.qsize() >= _MAX_WAITING:
            self._dropped(1)
        else:
            self._waiting.put(record)

    def close(self) -> None:
        """Write what waits, for some seconds at most, and let go of the file."""
        self._waiting.put(None)
        self._thread.join(_LEAVE_S)
        if not self._thread.is_alive():
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            records, ended = [first], False
            with suppress(queue.Empty):
                while len(records) < _MAX_AT_ONCE and not ended:
                    after = self._waiting.get_nowait()
                    ended = after is None
                    if after is not None:
                        records.append(after)
            self._write(records)
            if ended:
                return

    def _write(self, records: list[Access]) -> None:
        data = b"".join(canonical_json(asdict(record)) + b"\n" for record in records)
        try:
            if os.fstat(self._descriptor).st_size + len(data) > self._file_bytes:
                self._turn()
            if os.write(self._descriptor, data) < len(data):
                raise OSError(0, "no room")
            self._failing = False
        except OSError as error:
            self._dropped(len(records))
            if not self._failing:  # once, not once per request
                _LOG.error("%s takes no lines: %s", self._path, error.strerror)
            self._failing = True

    def _turn(self) -> None:
        """Begin a new file; the oldest goes."""
        for number in range(_FILES - 1, 0, -1) if self._path.exists() else ():  # else it failed to open the last time
            older = numbered(self._path, number - 1)
            if older.exists():
                os.replace(older, numbered(self._path, number))
        opened = self._open()  # a number that is closed and kept would soon be somebody else's
        full, self._descriptor = self._descriptor, opened
        os.close(full)

    def _open(self) -> int:
        """The file, behind what a kill may have torn."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            with suppress(OSError):
                os.write(descriptor, b"\n")
        return descriptor
