"""A real Postgres for tests: Debian's package `postgresql`, one process, a free port, a folder that is thrown away.

The server refuses to run as root, so under root it runs as the system's user `postgres`.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.integration import seaweed

_READY_S = 60.0
_USER = "postgres"


def programs() -> Path:
    """Folder of `initdb` and `postgres`; skips the test when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        pytest.skip("needs the programs of Postgres (Debian's package postgresql)")
    return Path(on_path).parent


class Postgres:
    """A running server."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"postgresql://{_USER}@127.0.0.1:{port}/postgres"
        self._log = folder / "server.log"
        self._command = [*_as_user(), str(programs() / "postgres"), "-D", str(folder / "data"), "-k", str(folder)]
        self._command += ["-h", "127.0.0.1", "-p", str(port), "-F"]  # no test cuts its power
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._log.parent)
        end = time.monotonic() + _READY_S
        while True:
            try:
                return psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(self._log.read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Its end does not wait for those who are connected."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=_READY_S)

    def restart(self) -> None:
        """The same data, new processes."""
        self.stop()
        self.start()


@contextmanager
def server() -> Iterator[Postgres]:
    """A server that has no tables yet."""
    folder = Path(tempfile.mkdtemp(prefix="volano-postgres-"))
    try:
        if _as_user():
            shutil.chown(folder, _USER, _USER)
        made = [
            str(programs() / "initdb"),
            "-D",
            str(folder / "data"),
            "-U",
            _USER,
            "--auth=trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run([*_as_user(), *made], check=True, capture_output=True, cwd=folder)
        running = Postgres(folder, seaweed.free_ports(1)[0])
        try:
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_user() -> list[str]:
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"] if os.geteuid() == 0 else []
