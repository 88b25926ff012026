"""A verb that runs an application is that application to whoever asks it to end."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow


def test_who_ends_the_command_ends_the_application(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from volano.cli import main; main()",
        "serve",
        "uploads",
        "--home",
        str(tmp_path),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = next(line for line in process.stderr if "listening on" in line or "Error" in line)
            assert "listening on" in said
            [door] = psutil.Process(process.pid).children()
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            assert process.wait(30) == 128 + signal.SIGTERM, "as the door itself ends"
            assert not door.is_running()
        finally:
            process.kill()
