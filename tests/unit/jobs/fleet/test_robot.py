"""What a robot's process loads: no training or cluster library, no database."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
HEAVY = ("torch", "ray", "transformers", "mlflow", "sqlalchemy", "pandas", "scipy")


def test_a_robot_imports_little() -> None:
    code = f"import sys, jobs.fleet.robot; sys.exit(', '.join(set({HEAVY!r}) & set(sys.modules)) or 0)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
