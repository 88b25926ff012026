"""Stock clients of other projects, unmodified, asking a gateway of ours: environments, and a policy that remembers.

Each client runs in an environment of its own, or is a copy of what is no package, by commit (`tests.peers`). What
cannot be had skips its test, and says why.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.routes import RobotRecord
from tests.integration.gateways import KEY, Controllers, Directory, Running, hashed
from tests.peers import or_skip, python_of
from tests.unit.inference.protocols.wires import ARM
from volano.embodiment.contract import Camera, Embodiment

_ROOT = Path(__file__).resolve().parents[2]
CALLS = 1000
EPISODES = 10
DROID: Embodiment = replace(
    ARM,
    cameras=(
        Camera(name="exterior_image_0_left", height=48, width=64),
        Camera(name="wrist_image_left", height=48, width=64),
    ),
)


@dataclass(kw_only=True)
class Remembering(Controllers):
    """A policy that answers something else each time, and keeps what it saw and said."""

    robot: Embodiment = DROID
    answered: list[NDArray[np.float32]] = field(default_factory=list)

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        del policy, within_s
        self.seen.append(observation)
        random = np.random.default_rng(len(self.seen))
        low, high = ([getattr(channel, end) for channel in self.robot.action] for end in ("low", "high"))
        chunk = random.uniform(low, high, (self.robot.horizon, len(low))).astype(np.float32)
        self.answered.append(chunk)
        return chunk


def directory() -> Directory:
    """One robot with the arm's contract."""
    return Directory(robots={hashed(KEY): RobotRecord(id="arm-07", embodiment=DROID)})


def digest(*arrays: NDArray[Any]) -> str:
    """SHA-256 over the arrays' bytes."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def ask(
    script: str,
    environment: str,
    place: int | str,
    *arguments: str,
    source: Path | None = None,
    authority: Path | None = None,
) -> list[list[Any]]:
    """What a script of this folder, run where its client is on a machine that trusts `authority`, says of each call:
    [digest of what it sent, prompt, digest of the actions, dtype, shape]."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["PYTHONPATH"] = os.pathsep.join([*([str(source)] if source else []), str(_ROOT)])
    variables |= {"SSL_CERT_FILE": str(authority)} if authority else {}
    done = subprocess.run(
        [str(or_skip(python_of, environment)), str(Path(__file__).with_name(script)), str(place), KEY, *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def require_equal(running: Running, rows: list[list[Any]], given: list[NDArray[np.float32]], episodes: int) -> None:
    """Every array of every call arrived as it was sent, on both ways, and belonged to as many episodes."""
    policy = running.act
    assert isinstance(policy, Remembering)
    answered = [access for access in running.access if access.outcome == "answered"]
    assert len(rows) == len(policy.seen) == len(given) == len(answered)
    for number, (sent, prompt, got, dtype, shape) in enumerate(rows):
        seen = policy.seen[number]
        images = [seen[f"observation/image/{camera.name}"] for camera in policy.robot.cameras]
        assert (digest(*images, seen["observation/state"]), seen["prompt"]) == (sent, prompt)
        assert (got, dtype, tuple(shape)) == (digest(given[number]), "float32", given[number].shape)
    assert len({digest(one) for one in given}) == len(given), "the answers must differ to prove anything"
    assert len({access.episode for access in answered}) == episodes
