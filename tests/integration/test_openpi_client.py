"""The unmodified client of openpi against our gateway: a thousand calls, every array byte for byte.

It needs NumPy 1, so that the test makes it an environment of its own under `.cache`, once. It is skipped only when
that environment cannot be made.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.integration.gateways import KEY, Controllers, running_gateway

_ROOT = Path(__file__).resolve().parents[2]
_PLACE = _ROOT / ".cache" / "peers" / "openpi"
_PACKAGES = ("openpi-client==0.1.2", "numpy<2", "typing-extensions")
"""The client imports the last one without asking for it."""
_CALLS = 1000


def openpi_python() -> Path:
    """The interpreter of the client's environment, which is made when it is not there; skips when it cannot be."""
    python, ready = _PLACE / "bin" / "python", _PLACE / "ready"
    if ready.exists():
        return python
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).exists():
        pytest.skip("uv is not installed, so that the client's environment cannot be made")
    shutil.rmtree(_PLACE, ignore_errors=True)
    for command in (
        [uv, "venv", "-p", "3.11", str(_PLACE)],
        [uv, "pip", "install", "-p", str(python), *_PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            pytest.skip(f"the client's environment cannot be made: {done.stderr[-500:]}")
    ready.touch()
    return python


@dataclass(kw_only=True)
class Remembering(Controllers):
    """The gateway's policy, which keeps what it answered."""

    answered: list[NDArray[np.float32]] = field(default_factory=list)

    async def __call__(self, policy: str, observation: Mapping[str, Any]) -> NDArray[np.float32]:
        chunk = await super().__call__(policy, observation)
        self.answered.append(chunk)
        return chunk


def digest(*arrays: NDArray[Any]) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


@pytest.mark.peer
@pytest.mark.slow
def test_a_stock_client_gets_every_byte_of_a_thousand_answers() -> None:
    python, policy = openpi_python(), Remembering()
    script = Path(__file__).with_name("ask_with_openpi.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with running_gateway(act=policy, timeout_s=5.0) as running:
        done = subprocess.run(
            [str(python), str(script), str(running.port), KEY, str(_CALLS)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == len(policy.seen) == len(policy.answered) == _CALLS
    for number, (sent, got, dtype, shape, _) in enumerate(rows):
        seen, answered = policy.seen[number], policy.answered[number]
        arrays = [seen[f"observation/{name}"] for name in ("image/ego", "image/rear", "state")]
        assert (digest(*arrays), seen["prompt"]) == (sent, f"go to ball {number}")
        assert (got, dtype, tuple(shape)) == (digest(answered), "float32", answered.shape)
    assert len({digest(answered) for answered in policy.answered}) == _CALLS, (
        "the answers must differ to prove anything"
    )
    assert [access.request for access in running.access] == [request for *_, request in rows]
    assert len({access.episode for access in running.access}) == 1
