"""A folder in which one process at a time may work, told by a lock on a file that the kernel lets go with the process.

The folder may be shared where its file system shares locks, as NFS does. A process of another program that this one
started does not hold the lock.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from volano.errors import Code, SystemMissingError


@contextmanager
def occupied(lock: Path, *, cause: str, fix: str) -> Iterator[None]:
    """Be the only one who holds `lock`, until this process ends at the latest; its folder is made. Raises
    SystemMissingError(E-SYSTEM-004), with these words, while another one does."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SystemMissingError(Code.SYSTEM_OCCUPIED, cause, fix) from error
        yield
