"""Sweeps work in memory where it has room: a file system there behaves as another does, and nobody waits for a disk.
What a power cut leaves is worked out by `crashes.Disk`, and not by any file system. What was swept is told at the end.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SWEPT = "swept"
"""The property of a test that says what it did."""
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 1 << 30


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory, or on the disk where memory has too little room."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ROOM_BYTES:
        yield tmp_path_factory.mktemp("sweeps")
        return
    with tempfile.TemporaryDirectory(prefix="volano-sweeps-", dir=_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def tmp_path(quick: Path) -> Iterator[Path]:
    """A folder of the test's own, gone when it ends."""
    with tempfile.TemporaryDirectory(dir=quick) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def scratch(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written beside the test's own folder stands in memory as well."""
    monkeypatch.setattr(tempfile, "tempdir", str(quick))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what every sweep counted."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == SWEPT:
                terminalreporter.write_line(f"{report.location[2]}: {value}")
