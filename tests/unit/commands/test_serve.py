"""`volano serve up` where it cannot be meant."""

import subprocess
from pathlib import Path

from tests.unit.test_cli import COMMAND


def test_a_home_that_is_none_is_named_and_not_made(tmp_path: Path) -> None:
    home = tmp_path / "misspelt"
    done = subprocess.run(
        [*COMMAND, "serve", "up", "--home", str(home)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr.startswith(f"E-POLICY-009  there is no root of trust at {home}/keys/root.json")
    assert "volano policy keys make" in done.stderr
    assert done.returncode == 5
    assert not home.exists()
