"""Safety logic must start in milliseconds and on a robot: numpy and the standard library only."""

import subprocess
import sys

_PROGRAM = """
import importlib, pkgutil, sys
import volano.rollout
for module in pkgutil.iter_modules(volano.rollout.__path__):
    importlib.import_module(f"volano.rollout.{module.name}")
heavy = {"torch", "ray", "scipy", "transformers", "mlflow", "boto3", "sqlalchemy", "pyarrow"}
sys.exit(", ".join(sorted(heavy & set(sys.modules))) or 0)
"""


def test_the_rollout_needs_neither_torch_nor_ray_nor_scipy() -> None:
    finished = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 0, finished.stderr
