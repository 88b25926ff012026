"""A stop by a file, where no gateway can be reached: on the robot's own disk, or on a stick that somebody plugs in.

What was believed once is kept in the robot's own register, so that it outlives the file and a restart of the robot;
only a signed resume lifts it.
"""

import logging
import os
from pathlib import Path

from volano.errors import Code, VolanoError
from volano.inference.hold.orders import MAX_BYTES, Authority, read_order
from volano.inference.hold.register import REGISTER, HoldRegister
from volano.inference.hold.state import Subject
from volano.storage.files import open_plain

_LOG = logging.getLogger(__name__)


class OfflineHold:
    """One robot's orders; call it from one thread, as often as it should notice."""

    def __init__(self, order: Path, folder: Path, authority: Authority, subject: Subject) -> None:
        """`order` is where a signed order may appear, `folder` where the robot keeps what it believed."""
        self._order = order
        self._register = HoldRegister(folder / REGISTER)
        self._authority = authority
        self._subject = subject
        self._seen: tuple[int, int, int] | None = None

    def __call__(self) -> str:
        """Why the robot has to stand still; empty when no order says so."""
        try:
            status = os.stat(self._order)
        except OSError:
            self._seen = None
        else:
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if seen != self._seen and self._take():
                self._seen = seen
        self._register.refresh()
        return self._register.reason(self._subject)

    def _take(self) -> bool:
        """Whether the file need not be read again until it changes."""
        try:
            with open_plain(self._order) as file:
                envelope = file.read(MAX_BYTES + 1)
            self._register.apply(read_order(envelope, self._authority), envelope)
        except VolanoError as error:
            _LOG.error("%s: %s", self._order, error)
            return error.code == Code.HOLD_ORDER
        except OSError:
            return False
        return True
