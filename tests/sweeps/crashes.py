"""Kills and power cuts at the k-th thing a process does to its disk, in forked children of one warm process.

Counted are the system calls that change a disk, and every write of Arrow and FFmpeg, which make their calls themselves.
"""

import gc
import os
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq

from volano.data.video import VideoFile
from volano.errors import VolanoError

_CALLS = ("open", "write", "fsync", "link", "mkdir", "unlink", "rmdir", "replace", "rename")
_NATIVE = ((pq, "write_table"), (VideoFile, "add"), (VideoFile, "close"))
_DEPTH = 7
_LIBRARY = f"{os.sep}volano{os.sep}"
Act = Callable[[str, Callable[..., Any], tuple[Any, ...]], None]
"""What happens at the k-th effect: its name, the call that would come next, its arguments."""


class Effects:
    """Counts effects and acts before the k-th one; 0 acts never."""

    def __init__(self, position: int, act: Act, *, disk: "Disk | None" = None) -> None:
        self.position, self.act, self.disk = position, act, disk
        self.seen = 0
        self.points: list[str] = []
        """What, and in which functions of the library, one for each effect."""
        self.names: list[str] = []

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return call(*arguments, **options)
            self.seen += 1
            self.names.append(name)
            self.points.append(f"{name} in {_caller()}")
            if self.seen == self.position:
                self.act(name, call, arguments)
            if name == "fsync":  # a kill leaves what the system has; of a power cut the disk below knows
                return self.disk.sync(arguments[0]) if self.disk else None
            return call(*arguments, **options)

        return counted

    @contextmanager
    def watched(self) -> Iterator[None]:
        """This process's effects are counted."""
        with ExitStack() as stack:
            for owner, name in [*((os, call) for call in _CALLS), *_NATIVE]:
                stack.enter_context(patch.object(owner, name, self.wrap(name, getattr(owner, name))))
            yield


class Disk:
    """What of a folder a power cut leaves at the least: files as they were synced, in folders as they were synced."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, tuple[int, bool]]] = {}
        self._held: dict[int, int] = {}
        """Inode to a descriptor that keeps it from being used again."""
        for folder, _, files in os.walk(root):
            for path in [folder, *(os.path.join(folder, name) for name in files)]:
                descriptor = os.open(path, os.O_RDONLY)
                self.sync(descriptor)
                os.close(descriptor)

    def sync(self, descriptor: int) -> None:
        """What `fsync` makes durable."""
        status = os.fstat(descriptor)
        here = f"/proc/self/fd/{descriptor}"
        self._hold(here, status.st_ino)
        if not stat.S_ISDIR(status.st_mode):
            self._files[status.st_ino] = Path(here).read_bytes()
            return
        entries = {}
        for entry in os.scandir(here):
            self._hold(entry.path, entry.inode())
            entries[entry.name] = (entry.inode(), entry.is_dir(follow_symlinks=False))
        self._folders[status.st_ino] = entries

    def _hold(self, path: str, inode: int) -> None:
        if inode not in self._held:
            self._held[inode] = os.open(path, os.O_PATH)

    def cut(self, target: Path, *, names: bool) -> None:
        """Build what is left. With `names` every entry got to the disk in time, and only contents did not: a file
        system may write its directory before the data."""
        self._rebuild(os.stat(self._root).st_ino, self._root if names else None, target)

    def _rebuild(self, inode: int, current: Path | None, target: Path) -> None:
        target.mkdir()
        if current is None:
            entries = self._folders.get(inode, {})
        else:
            entries = {one.name: (one.inode(), one.is_dir(follow_symlinks=False)) for one in os.scandir(current)}
        for name, (child, is_folder) in entries.items():
            if is_folder:
                self._rebuild(child, current and current / name, target / name)
            else:
                (target / name).write_bytes(self._files.get(child, b""))


def kill(_name: str, _call: Callable[..., Any], _arguments: tuple[Any, ...]) -> None:
    """What the out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_within(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The same, when half of a write was done."""
    if name == "write":
        call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], None]) -> int:
    """Do it in a forked child; its exit code: 1 for what a check found, 2 for other errors, negative for a signal."""
    child = os.fork()
    if child == 0:
        gc.freeze()  # what was there before is neither looked at nor copied
        try:
            work()
        except BaseException as error:
            traceback.print_exc()
            os._exit(1 if isinstance(error, AssertionError | VolanoError | ValueError) else 2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _caller() -> str:
    """The library's functions above, the nearest first."""
    frame, found = sys._getframe(2), list[str]()
    while frame is not None and len(found) < _DEPTH:
        if _LIBRARY in frame.f_code.co_filename:
            found.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(found)
