"""The log of who was refused: a line now and then with their number, so that strangers who knock all the time fill no
log."""

import logging
import time
from collections.abc import Callable

_LOG = logging.getLogger(__name__)
_EVERY_S = 1.0


class RefusalLog:
    """Of one listener."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`what` was refused, in the plural; `clock` gives monotonic seconds."""
        self._what = what
        self._clock = clock
        self._refused = 0
        """Since the last line."""
        self._said_at_s = -_EVERY_S

    def note(self, peer: object, cause: str) -> None:
        """Count one, and tell it when none was told for a second."""
        self._refused += 1
        now = self._clock()
        if now - self._said_at_s >= _EVERY_S:
            _LOG.warning("refused %d %s, the last of %s: %s", self._refused, self._what, peer, cause)
            self._refused, self._said_at_s = 0, now
