"""Policies on real Ray Serve replicas: several live at once, none unverified, one answer whatever the batch."""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import serve

from serving.act import Applications, RayAct
from serving.replica import Work, answer, read
from tests.unit.model.tiny import tiny_policy
from volano.cluster import connect
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import CAR, GLIDER, SAWYER, SCOUT
from volano.errors import Code, ContractError, ServeError
from volano.inference.session import IDENTITY, PROMPT, STATE, image_key
from volano.model.folder import save
from volano.model.policy import Policy
from volano.registry.manifest import Lineage, write_manifest
from volano.registry.release import publish, sign_folder
from volano.registry.signing import generate
from volano.storage.folder import FolderStore

pytestmark = pytest.mark.slow
LINEAGE = Lineage(dataset_versions=("a" * 64,), config_digest="c" * 64, code_revision="1a2b3c4")
ROBOTS = (SCOUT, CAR, SAWYER, GLIDER)


@dataclass(frozen=True, kw_only=True)
class Home:
    """A store with three signed policies, of which the third was changed after it was signed."""

    path: Path
    first: str
    second: str
    tampered: str


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Ray of one's own; its address."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as t,
    ):
        patch.setenv("RAY_TMPDIR", t)
        patch.delenv("VOLANO_RAY_ADDRESS", raising=False)
        connect()
        yield ray.get_runtime_context().gcs_address
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("home")
    key = generate(path / "keys")
    digests = []
    (path / "store").mkdir()
    store = FolderStore(path / "store")
    for number in range(3):
        folder = path / f"policy-{number}"
        folder.mkdir()
        save(tiny_policy(number), folder)
        write_manifest(folder, LINEAGE)
        sign_folder(folder, key)
        digests.append(publish(store, folder))
    weights = path / "store" / "policies" / digests[2] / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.unlink()
    weights.write_bytes(content)
    return Home(path=path, first=digests[0], second=digests[1], tampered=digests[2])


@pytest.fixture(scope="module")
def applications(cluster: str, home: Home) -> Applications:
    """The first two policies live, the third wanted too."""
    del cluster
    trusted = [generate(home.path / "keys").public_key()]
    found = Applications(str(home.path / "store"), trusted, num_cpus=0.1)
    wanted = frozenset({home.first, home.second, home.tampered})
    until = time.monotonic() + 80
    while (problems := found.look(wanted)) and time.monotonic() < until:
        if not problems[home.first] and not problems[home.second] and problems[home.tampered].startswith("E-"):
            break
        time.sleep(0.3)
    return found


def observation(robot: Embodiment, tick: int) -> Mapping[str, Any]:
    random = np.random.default_rng(tick)
    images = {
        image_key(camera.name): random.integers(0, 256, (camera.height, camera.width, 3)).astype(np.uint8)
        for camera in robot.cameras
    }
    place = {"robot": robot.tag, "embodiment": robot.fingerprint, "task": "t", "episode": "e", "tick": tick}
    state = np.array([(channel.low + channel.high) / 2 for channel in robot.state], np.float32)
    return {**images, STATE: state, PROMPT: "go to the red box", IDENTITY: place}


def test_two_policies_answer_at_once_each_in_its_own_way(applications: Applications, home: Home) -> None:
    act = RayAct(applications)

    async def both() -> list[Any]:
        chunks = (act(policy, observation(SCOUT, 3)) for policy in (home.first, home.second))
        return list(await asyncio.gather(*chunks))

    answers = asyncio.run(both())
    assert [chunk.shape for chunk in answers] == [(SCOUT.horizon, len(SCOUT.action))] * 2
    for chunk, number in zip(answers, range(2), strict=True):
        expected = answer(tiny_policy(number), [read(SCOUT, observation(SCOUT, 3))])[0]
        np.testing.assert_allclose(chunk, expected, rtol=1e-3, atol=1e-4)
    assert not np.allclose(answers[0], answers[1], atol=1e-3)


def test_a_batch_changes_no_answer(applications: Applications, home: Home) -> None:
    act = RayAct(applications)
    asked = [observation(ROBOTS[tick % 4], tick) for tick in range(12)]

    async def together() -> list[Any]:
        return list(await asyncio.gather(*(act(home.first, one) for one in asked)))

    async def alone() -> list[Any]:
        return [await act(home.first, one) for one in asked]

    for batched, single in zip(asyncio.run(together()), asyncio.run(alone()), strict=True):
        np.testing.assert_allclose(batched, single, rtol=1e-3, atol=1e-4)


def test_a_policy_that_was_tampered_with_is_refused_by_name(applications: Applications, home: Home) -> None:
    assert applications.problem(home.tampered).startswith(Code.POLICY_TAMPERED)
    assert "model.safetensors" in applications.problem(home.tampered)
    with pytest.raises(ServeError, match="E-POLICY-002"):
        asyncio.run(RayAct(applications)(home.tampered, observation(SCOUT, 0)))


def test_a_robot_that_the_policy_does_not_know_is_refused_alone(applications: Applications, home: Home) -> None:
    act = RayAct(applications)
    stranger = dict(observation(SCOUT, 0))
    stranger[IDENTITY] = {**stranger[IDENTITY], "embodiment": "0" * 64}

    async def both() -> list[Any]:
        work = (act(home.first, stranger), act(home.first, observation(SCOUT, 0)))
        return list(await asyncio.gather(*work, return_exceptions=True))

    refused, answered = asyncio.run(both())
    assert isinstance(refused, ContractError)
    assert refused.code is Code.CONTRACT_UNKNOWN
    assert answered.shape == (SCOUT.horizon, len(SCOUT.action))


def test_noise_belongs_to_the_request_and_not_to_its_place_in_the_batch() -> None:
    policy: Policy = tiny_policy()
    work: list[Work] = [read(robot, observation(robot, tick)) for tick, robot in enumerate(ROBOTS)]
    forwards, backwards = answer(policy, work), answer(policy, work[::-1])[::-1]
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
