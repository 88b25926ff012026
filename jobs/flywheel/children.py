"""Processes that a flywheel starts: each in a group of its own, written down before it works, gone before the next
flywheel on the same folder starts another.

A driver that was killed leaves its children behind; `sweep` ends exactly those, by process group, and only when the
process is still the one that was written down.
"""

import json
import logging
import os
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
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        started = psutil.Process(child.pid).create_time()
        (self._folder / f"{name}.json").write_text(json.dumps({"pid": child.pid, "started": started}))
        return child

    def run(self, name: str, module: str, *arguments: str) -> None:
        """Run `python -m module arguments` to its end. Raises SystemMissingError(E-SYSTEM-003) when it fails, with
        the end of what it said."""
        begun = time.monotonic()
        child = self.start(name, [sys.executable, "-m", module, *arguments])
        try:
            status = child.wait()
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

    def alive(self, name: str) -> bool:
        """Whether the child that was last started under this name still runs."""
        return self._process(name) is not None

    def stop(self, name: str) -> None:
        """End a child and everything it started; one that is gone is no error."""
        process = self._process(name)
        if process is not None:
            _end(process.pid)
        with suppress(ChildProcessError):
            if process is not None:
                os.waitpid(process.pid, os.WNOHANG)
        (self._folder / f"{name}.json").unlink(missing_ok=True)

    def sweep(self) -> None:
        """End what an earlier driver left running."""
        for path in sorted(self._folder.glob("*.json")):
            if self.alive(path.stem):
                _LOG.info("ending %s, which an earlier run left behind", path.stem)
            self.stop(path.stem)

    def _process(self, name: str) -> psutil.Process | None:
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            known = json.loads((self._folder / f"{name}.json").read_text())
            process = psutil.Process(known["pid"])
            if process.create_time() == known["started"] and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


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


def _members(group: int) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
