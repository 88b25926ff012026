"""Processes that a flywheel starts: each in a group of its own, written down before it works, gone before the next
flywheel on the same folder starts another.

A driver that was killed leaves its children behind, and a child that was killed what it started; `sweep` ends exactly
those, by process group, and never a stranger that has the number of one by now.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from volano.errors import Code, SystemMissingError

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 10.0
_TAIL = 15
_TELL_S = 20.0
_SILENCE_S = 1800.0
"""A step that says nothing for so long is ended; each of them says how far it is every few minutes at most."""
_LINE_BYTES = 1000
_TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\s+")
_CLOCK_S = 2.0
"""How far the start of a process and the time of a file may be off: the kernel tells the first in whole seconds."""
_WRITE_DOWN = 'echo $$ > "$0.part" && mv "$0.part" "$0" && exec "$@"'
"""The child notes its own number before it becomes what it is to be, so that no kill falls in between."""


class Children:
    """The processes of one flywheel folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """`folder` keeps who runs and what they say; `environment` is added to this process's own."""
        self._folder = folder
        self._environment = {**os.environ, **environment}
        folder.mkdir(parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        """Where a child's output goes."""
        return self._folder / f"{name}.log"

    def start(self, name: str, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a child that outlives this call."""
        note = self._note(name)
        note.unlink(missing_ok=True)
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                ["/bin/sh", "-c", _WRITE_DOWN, str(note), *command],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not note.exists() and child.poll() is None:
            time.sleep(0.001)
        return child

    def run(self, name: str, module: str, *arguments: str) -> None:
        """Run `python -m module arguments` to its end. Raises SystemMissingError(E-SYSTEM-003) when it fails, with
        the end of what it said, or when it falls silent."""
        begun = time.monotonic()
        child = self.start(name, [sys.executable, "-m", module, *arguments])
        try:
            status = self._wait(child, name)
        finally:
            self.stop(name)
        if status:
            said = "\n".join(self.log(name).read_text(errors="replace").splitlines()[-_TAIL:])
            raise SystemMissingError(
                Code.SYSTEM_CHILD,
                f"{module} ended with status {status}:\n{said}",
                f"see {self.log(name)}, run it again",
            )
        _LOG.info("%s: %.0f s", name, time.monotonic() - begun)

    def _wait(self, child: "subprocess.Popen[bytes]", name: str) -> int:
        """Its exit status; meanwhile what it said last, whenever that is new. Raises SystemMissingError after too long
        a silence."""
        told, size, heard = "", -1, time.monotonic()
        while True:
            try:
                return child.wait(timeout=_TELL_S)
            except subprocess.TimeoutExpired:
                if (now := self.log(name).stat().st_size) != size:
                    size, heard = now, time.monotonic()
                elif time.monotonic() - heard > _SILENCE_S:
                    raise SystemMissingError(
                        Code.SYSTEM_CHILD,
                        f"{name} has said nothing for {_SILENCE_S:.0f} s and was ended",
                        f"see {self.log(name)}, run it again",
                    ) from None
                line = _last_line(self.log(name))
                if line and line != told:
                    _LOG.info("    %s", line)
                    told = line

    def alive(self, name: str) -> bool:
        """Whether the child that was last started under this name still runs."""
        group = self._group(name)
        return group is not None and any(member.pid == group for member in _members(group))

    def stop(self, name: str) -> None:
        """End a child and everything it started; one that is gone is no error."""
        group = self._group(name)
        if group is not None:
            _end(group)
            with suppress(ChildProcessError):
                os.waitpid(group, os.WNOHANG)
        self._note(name).unlink(missing_ok=True)

    def sweep(self) -> list[str]:
        """End everything that runs, whoever started it; the names of what had to be ended."""
        names = [path.stem for path in sorted(self._folder.glob("*.pid"))]
        running = [name for name in names if (group := self._group(name)) is not None and _members(group)]
        for name in names:
            self.stop(name)
        return running

    def _note(self, name: str) -> Path:
        return self._folder / f"{name}.pid"

    def _group(self, name: str) -> int | None:
        """The process group of a child, unless its number belongs to a stranger, who came after the note."""
        with suppress(OSError, ValueError):
            group, noted = int(self._note(name).read_text()), self._note(name).stat().st_mtime
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(group).create_time() > noted + _CLOCK_S:
                    return None
            return group
        return None


def _last_line(log: Path) -> str:
    """Without the time that a logger put before it."""
    with log.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LINE_BYTES))
        lines = stream.read().decode(errors="replace").split("\n")[:-1]
    return _TIME.sub("", lines[-1]) if lines else ""


def _end(group: int) -> None:
    """SIGTERM to a process group, SIGKILL to what is left of it after a while."""
    for number, patience_s in ((signal.SIGTERM, _PATIENCE_S), (signal.SIGKILL, _PATIENCE_S)):
        with suppress(ProcessLookupError):
            os.killpg(group, number)
        until = time.monotonic() + patience_s
        while _members(group) and time.monotonic() < until:
            time.sleep(0.05)
        if not _members(group):
            return


def _members(group: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
