"""An append-only file of JSON lines: where a gateway writes its shadow journal, from which rollouts are judged.

Each line is one write of one whole record, so that several processes may append to one file and a kill tears none
but the last line, behind which the next begins anew. A disk that is full costs lines, never a robot its answer.
"""

import logging
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from serving.routes import ShadowEntry
from volano.storage.content import canonical_json

_LOG = logging.getLogger(__name__)


class JsonLines:
    """Call it with a record to append it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        size = os.fstat(self._descriptor).st_size
        self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"
        self._failing = False

    def __call__(self, record: ShadowEntry) -> None:
        line = (b"\n" if self._torn else b"") + canonical_json(asdict(record)) + b"\n"
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            if not self._failing:  # once, not once per request
                _LOG.error("%s takes no lines: %s", self._path, error.strerror)
            self._failing = True
            return
        self._torn = written < len(line)
        self._failing = False

    def close(self) -> None:
        """Let go of the file, with its content on the disk."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
