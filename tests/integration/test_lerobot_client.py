"""The unmodified async inference client of LeRobot against our gateway: a thousand chunks byte for byte, and its whole
control loop with a robot.

It runs in LeRobot's own environment, which `test_lerobot` makes once; skipped only when that cannot be made.
"""

import hashlib
import json
import os
import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.integration.gateways import Controllers
from tests.integration.lerobot_ports import fleet, key_of, running_lerobot
from tests.peers import or_skip, python_of
from tests.unit.data.bundles import ROVER
from tests.unit.inference.protocols.lerobot_frames import alias

pytestmark = [pytest.mark.peer, pytest.mark.slow]
_CALLS = 1000
_STOCK_FLOOR_MS = 1000 / 30
"""LeRobot's own server answers no sooner."""


@dataclass(kw_only=True)
class Remembering(Controllers):
    """A policy that keeps what it answered: by rule, or what it saw."""

    echo: bool = False
    answered: list[NDArray[np.float32]] = field(default_factory=list)

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        chunk = await super().__call__(policy, observation, within_s)
        if self.echo:
            chunk = np.tile(observation["observation/state"], (ROVER.horizon, 1))
        self.answered.append(chunk)
        return chunk


def digest(*arrays: NDArray[Any]) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def ask(what: str, port: int, count: int, home: Path) -> Any:
    """What the client says it did."""
    file = home / "said.json"
    script = Path(__file__).with_name("ask_with_lerobot.py")
    done = subprocess.run(
        [
            str(or_skip(python_of, "lerobot")),
            "-P",
            str(script),
            what,
            str(port),
            alias("rover-01", key_of("rover-01")),
            str(count),
            file,
        ],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "OMP_NUM_THREADS": "1"},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(file.read_text())


def test_a_stock_client_gets_every_byte_of_a_thousand_chunks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    or_skip(python_of, "lerobot")
    policy = Remembering()
    with running_lerobot(fleet("rover-01"), policy, timeout_s=20.0) as (running, port):
        rows = ask("calls", port, _CALLS, tmp_path)
    assert len(rows) == len(policy.seen) == len(policy.answered) == _CALLS
    for number, (sent, got, dtype, shape, _) in enumerate(rows):
        seen, answered = policy.seen[number], policy.answered[number]
        arrays = [seen[f"observation/{name}"] for name in ("image/ego", "image/rear", "state")]
        assert (digest(*arrays), seen["prompt"]) == (sent, f"go to ball {number}")
        assert (got, dtype, tuple(shape)) == (digest(answered), "float32", answered.shape)
    assert len({digest(answered) for answered in policy.answered}) == _CALLS, "answers must differ to prove anything"
    assert {access.outcome for access in running.access} == {"answered"}
    milliseconds = statistics.median(1e3 * row[-1] for row in rows)
    with capsys.disabled():
        print(  # noqa: T201
            f"\nLeRobot's client, {_CALLS} chunks: p50 {milliseconds:.1f} ms; its own server {_STOCK_FLOOR_MS:.1f} ms"
        )


def test_a_stock_robot_client_does_what_the_policy_said_and_nothing_else(tmp_path: Path) -> None:
    or_skip(python_of, "lerobot")
    policy = Remembering(echo=True)
    with running_lerobot(fleet("rover-01"), policy, timeout_s=20.0) as (running, port):
        said = ask("robot", port, 100, tmp_path)
    assert said["wrong one started"] is False, "a camera of another size must be refused before anything moves"
    assert len(said["told"]) >= 100
    perceived = {tuple(row) for row in said["perceived"]}
    assert {tuple(row) for row in said["told"]} <= perceived, "the robot was told what no policy said"
    assert len({tuple(row) for row in said["told"]}) > 5, "the robot got one chunk only"
    assert {seen["prompt"] for seen in policy.seen} == {"go to the ball"}
    assert len({access.episode for access in running.access}) == 1
