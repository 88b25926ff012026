"""An append-only file of JSON lines: where a gateway writes its access log and its shadow journal.

Each line is one write of one whole record, so that several processes may append to one file and a kill tears none
but the last line.
"""

import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from serving.routes import Access, ShadowEntry
from volano.storage.content import canonical_json


class JsonLines:
    """Call it with a record to append it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, record: Access | ShadowEntry) -> None:
        os.write(self._descriptor, canonical_json(asdict(record)) + b"\n")

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
