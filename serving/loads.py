"""How long policies took to load, for those who wait for the next one. Kept across restarts of the gateway."""

import json
import statistics
from pathlib import Path

from volano.storage.content import canonical_json
from volano.storage.files import replace_file

_REMEMBERED = 20


class Loads:
    """The last loads of one gateway's policies; one thread writes."""

    def __init__(self, path: Path) -> None:
        """`path` is the file that remembers them; it need not exist."""
        self._path = path
        self._seconds: list[float] = json.loads(path.read_bytes()) if path.exists() else []

    @property
    def expected_s(self) -> float | None:
        """The median; None before the first."""
        seconds = self._seconds
        return statistics.median(seconds) if seconds else None

    def note(self, seconds: float) -> None:
        """One more, from its deployment to its first answer to a gateway."""
        self._seconds = [*self._seconds, round(seconds, 1)][-_REMEMBERED:]
        replace_file(self._path, [canonical_json(self._seconds)])
