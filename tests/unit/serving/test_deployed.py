"""A gateway that was killed is back as soon as its modules are read, so it reads none that only replicas need."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["serving.__main__", "serving.uploads"])
def test_a_gateway_starts_without_torch(module: str) -> None:
    script = f"import sys, {module}; print(sorted(sys.modules.keys() & {{'torch', 'transformers', 'mlflow'}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
