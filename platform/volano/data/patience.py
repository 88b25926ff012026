"""Asking again what did not answer: a few times, with growing pauses whose length is random, so that a fleet that lost
its network does not come back as one."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from volano.errors import Code, StorageError

_LOG = logging.getLogger(__name__)
_RETRIES = 5
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 20.0
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Call it with something that may be done twice."""

    sleep: Callable[[float], None]
    """Takes seconds."""
    random: Callable[[], float]
    """Within [0, 1)."""

    def __call__(self, call: Callable[[], _Result]) -> _Result:
        """The call's result; what it raises when that is not E-STORE-004, or still is after all tries."""
        for number in range(_RETRIES):
            try:
                return call()
            except StorageError as error:
                if error.code is not Code.STORE_UNAVAILABLE:
                    raise
                length = self.pause(number)
                _LOG.warning("no answer, asking again in %.1f s: %s", length, error.cause)
                self.sleep(length)
        return call()

    def pause(self, number: int) -> float:
        """Seconds to wait after so many failures."""
        return min(_FIRST_PAUSE_S * 2.0**number, _LONGEST_PAUSE_S) * (0.5 + self.random() / 2)
