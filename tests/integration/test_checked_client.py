"""A robot that checks for itself executes the assigned policy's answers alone, whatever its gateway sends."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.fleet.enroll import bring_root, enroll
from jobs.fleet.identity import read_key
from jobs.fleet.trust import client_of
from serving.routes import RobotRecord
from tests.integration.gateways import Controllers, Directory, eventually, hashed, running_gateway
from tests.unit.registry.folders import platform
from volano.embodiment.shipped import SCOUT
from volano.inference.client import RobotClient
from volano.inference.guard import fallback_chunk
from volano.ledger.ledger import open_ledger
from volano.ledger.robot_keys import robot_keys
from volano.registry.checked_client import CheckedClient
from volano.registry.confirmation import running
from volano.registry.director import Director
from volano.registry.signing import load_public_key

ROBOT = "scout-01"


class Standing(Controllers):
    """Every policy stands still."""

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        del policy, observation, within_s
        return fallback_chunk(SCOUT)


@dataclass(frozen=True)
class Seen:
    """What the robot perceives."""

    images: Mapping[str, Any]
    state: Any


def test_no_answer_of_a_policy_that_is_not_assigned_is_executed(tmp_path: Path) -> None:
    now, robots = time.time(), tmp_path / "robots"
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        enroll(ledger, robots, [ROBOT], now)
        bring_root(ledger, tmp_path / "keys" / "root.json", robots, [ROBOT], now)
        assert robot_keys(ledger) == {}
        home = platform(tmp_path, now=now)
        one, two = home.release("one", now=now).digest, home.release("two", bytes(24), now).digest
        place, key = robots / ROBOT, read_key(robots / ROBOT)
        unaware = client_of(place, home.store, "ws://127.0.0.1:1", key, SCOUT, ROBOT, 0.1)
        unaware.close()
        assert type(unaware) is RobotClient
        for _ in range(2):
            bring_root(ledger, home.keys.anchor, robots, [ROBOT, "scout-02"], now)
        assert set(robot_keys(ledger)) == {ROBOT}
    seen = Seen(
        {camera.name: np.zeros((camera.height, camera.width, 3), np.uint8) for camera in SCOUT.cameras},
        np.array([(channel.low + channel.high) / 2 for channel in SCOUT.state], np.float32),
    )
    record = RobotRecord(id=ROBOT, embodiment=SCOUT)
    directory = Directory(robots={hashed(key): record}, policies={"1": one, "2": two, "3": "e" * 64})
    director = Director(home.store, home.keys.key("director"), lambda: secrets.token_hex(16))
    with running_gateway(directory, Standing()) as gateway:
        client = client_of(place, home.store, gateway.url, key, SCOUT, ROBOT, 5.0)
        assert isinstance(client, CheckedClient)
        for turn, assigned in enumerate((one, two, one)):
            director.assign(home.look(now), assigned, subject=ROBOT, contract=SCOUT.fingerprint, now=now)
            for task, policy in directory.policies.items():
                client.start_episode(f"episode-{turn}-{task}", task)
                assert eventually(
                    lambda policy=policy, assigned=assigned: (  # type: ignore[misc]
                        (client.act(seen, "go", 0) is not None) == (policy == assigned)
                        and (client.problem == "" if policy == assigned else client.problem.startswith("E-POLICY-008"))
                    )
                ), client.problem
        client.close()
    [found] = running(home.store, home.look(now), {ROBOT: load_public_key(place / "report.pub")})
    assert found.report is not None
    assert (found.report.policy, found.report.counter) == (one, 3)
