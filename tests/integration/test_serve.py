"""Policies on real Ray Serve replicas: several live at once, none unverified, one answer whatever the batch."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import ray
from ray import serve

from serving.applications import Applications
from serving.loads import Loads
from serving.permits import Permits
from serving.pool import Pool
from serving.work import Work, answer, read
from tests.integration.gateways import eventually
from tests.unit.model.tiny import tiny_policy
from volano.cluster import ROOT, connect
from volano.embodiment.contract import Embodiment
from volano.embodiment.shipped import CAR, GLIDER, SAWYER, SCOUT, SHIPPED
from volano.errors import Code, ServeError, VolanoError
from volano.inference.client import Answer, RobotClient
from volano.inference.running import GatewayFolder
from volano.inference.session import IDENTITY, PROMPT, STATE, image_key
from volano.ledger.ledger import Ledger, open_ledger
from volano.ledger.records import Event, Robot
from volano.model.engine import Engine
from volano.model.folder import save
from volano.model.policy import Policy
from volano.registry import repository
from volano.registry.keys import Keys, open_keys
from volano.registry.manifest import Lineage, write_manifest
from volano.registry.release import publish
from volano.rollout.plan import Rollout
from volano.rollout.state import ABTest, RolledBack, state_to_json
from volano.storage.folder import FolderStore

pytestmark = pytest.mark.slow
Result = TypeVar("Result")
LOOP = asyncio.new_event_loop()
LINEAGE = Lineage(dataset_versions=("a" * 64,), config_digest="c" * 64, code_revision="1a2b3c4")
ROBOTS = (SCOUT, CAR, SAWYER, GLIDER)


@dataclass(frozen=True, kw_only=True)
class Home:
    """A store with three released policies, of which the third was changed after it was released."""

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
        patch.delenv("RAY_ADDRESS", raising=False)
        connect()
        yield ray.get_runtime_context().gcs_address
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("home")
    keys = open_keys(path / "keys", time.time())
    digests = []
    (path / "store").mkdir()
    store = FolderStore(path / "store")
    repository.begin(store, keys, time.time())
    for number in range(3):
        folder = path / f"policy-{number}"
        folder.mkdir()
        save(tiny_policy(number), folder)
        write_manifest(folder, LINEAGE)
        manifest = publish(store, folder)
        repository.release(store, keys, keys.trust, manifest, time.time())
        digests.append(manifest.digest)
    weights = path / "store" / "policies" / digests[2] / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.unlink()
    weights.write_bytes(content)
    return Home(path=path, first=digests[0], second=digests[1], tampered=digests[2])


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """A gateway's connections, in a loop of their own."""
    thread = threading.Thread(target=LOOP.run_forever, daemon=True)
    thread.start()
    found = Pool()
    found.attach(LOOP)
    yield found
    LOOP.call_soon_threadsafe(found.close)
    LOOP.call_soon_threadsafe(LOOP.stop)
    thread.join(10)


@pytest.fixture(scope="module")
def applications(cluster: str, home: Home, pool: Pool) -> Applications:
    """The first two policies live, the third wanted too."""
    del cluster
    keys = Keys(folder=home.path / "keys")
    permits = Permits(FolderStore(home.path / "store"), keys, keys.anchor, home.path / "serving")
    loads = Loads(home.path / "loads.json")
    found = Applications(str(home.path / "store"), permits.replicas, pool=pool, loads=loads, num_cpus=0.1)
    wanted = frozenset({home.first, home.second, home.tampered})
    until = time.monotonic() + 80
    while (problems := found.look(lambda: wanted)) and time.monotonic() < until:
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


def run(asked: Coroutine[Any, Any, Result]) -> Result:
    """What the replicas answer; one that never answers ends the test."""
    return asyncio.run_coroutine_threadsafe(asked, LOOP).result(60)


def test_two_policies_answer_at_once_each_in_its_own_way(pool: Pool, applications: Applications, home: Home) -> None:
    del applications

    async def both() -> list[Any]:
        chunks = (pool(policy, observation(SCOUT, 3), 10.0) for policy in (home.first, home.second))
        return list(await asyncio.gather(*chunks))

    answers = run(both())
    assert [chunk.shape for chunk in answers] == [(SCOUT.horizon, len(SCOUT.action))] * 2
    for chunk, number in zip(answers, range(2), strict=True):
        expected = answer(tiny_policy(number), [read(SCOUT, observation(SCOUT, 3))])[0]
        np.testing.assert_allclose(chunk, expected, rtol=1e-3, atol=1e-4)
    assert not np.allclose(answers[0], answers[1], atol=1e-3)


def test_a_batch_changes_no_answer(pool: Pool, applications: Applications, home: Home) -> None:
    del applications
    asked = [observation(ROBOTS[tick % 4], tick) for tick in range(12)]

    async def together() -> list[Any]:
        return list(await asyncio.gather(*(pool(home.first, one, 10.0) for one in asked)))

    async def alone() -> list[Any]:
        return [await pool(home.first, one, 10.0) for one in asked]

    for batched, single in zip(run(together()), run(alone()), strict=True):
        np.testing.assert_allclose(batched, single, rtol=1e-3, atol=1e-4)


def test_a_policy_that_was_tampered_with_is_refused_by_name(pool: Pool, applications: Applications, home: Home) -> None:
    assert applications.problem(home.tampered).startswith(Code.POLICY_TAMPERED)
    assert "model.safetensors" in applications.problem(home.tampered)

    async def asked() -> None:
        await pool(home.tampered, observation(SCOUT, 0), 10.0)

    with pytest.raises(ServeError, match="no replica"):
        run(asked())


def test_a_robot_that_the_policy_does_not_know_is_refused_alone(
    pool: Pool, applications: Applications, home: Home
) -> None:
    del applications
    stranger = dict(observation(SCOUT, 0))
    stranger[IDENTITY] = {**stranger[IDENTITY], "embodiment": "0" * 64}

    async def both() -> list[Any]:
        work = (pool(home.first, stranger, 10.0), pool(home.first, observation(SCOUT, 0), 10.0))
        return list(await asyncio.gather(*work, return_exceptions=True))

    refused, answered = run(both())
    assert isinstance(refused, VolanoError)
    assert refused.code is Code.CONTRACT_UNKNOWN
    assert answered.shape == (SCOUT.horizon, len(SCOUT.action))


def test_noise_belongs_to_the_request_and_not_to_its_place_in_the_batch() -> None:
    policy: Policy = tiny_policy()
    work: list[Work] = [read(robot, observation(robot, tick)) for tick, robot in enumerate(ROBOTS)]
    forwards, backwards = answer(policy, work), answer(policy, work[::-1])[::-1]
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_a_batch_may_mix_robots_that_go_on_from_a_prefix_with_those_that_do_not() -> None:
    policy: Policy = tiny_policy()
    plain = observation(SCOUT, 0)
    executed = np.linspace(-0.5, 0.5, 8, dtype=np.float32).reshape(4, 2)
    prefixed = {**plain, IDENTITY: {**plain[IDENTITY], "prefix": {"actions": executed, "delay": 2}}}
    work = [read(SAWYER, observation(SAWYER, 1)), read(SCOUT, prefixed), read(SCOUT, plain)]
    together = answer(policy, work)
    for one, found in zip(work, together, strict=True):
        np.testing.assert_allclose(found, answer(policy, [one])[0], atol=1e-4)
    np.testing.assert_allclose(together[1][:2], executed[:2], atol=1e-5)
    assert np.abs(together[1] - together[2])[2:].max() > 1e-3


@dataclass(frozen=True)
class Seen:
    """What the robot perceives."""

    images: Mapping[str, Any]
    state: Any


def perceived(tick: int) -> Seen:
    message = observation(SCOUT, tick)
    return Seen({camera.name: message[image_key(camera.name)] for camera in SCOUT.cameras}, message[STATE])


def prepare(home: Home, ledger: Ledger) -> None:
    """A scout, a policy in place, and a candidate in its A/B test."""
    robot = Robot(
        id="scout-01", embodiment="scout", fingerprint=SCOUT.fingerprint, site="", enrolled_at=1.0, revoked=False
    )
    ledger.enroll_robot(robot, "key of scout-01", "test")
    ledger.set_current(SCOUT.fingerprint, home.first, "test", 1.0)
    plan = Rollout(
        id="rollout-1", embodiments=(SCOUT.fingerprint,), current=home.first, candidate=home.second, salt="salt"
    )
    event = Event(at=2.0, kind="rollout.created", actor="test", payload={})
    state = json.dumps(state_to_json(ABTest(step=2, since=2.0)))
    ledger.create_rollout(plan.id, json.dumps(plan.to_json()), state, event)


def started(home: Home, cluster: str, port: int) -> subprocess.Popen[bytes]:
    """A gateway process whose policies are ready."""
    environment = {
        **os.environ,
        "RAY_ADDRESS": cluster,
        "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}",
    }
    command = [sys.executable, "-m", "serving", "--home", str(home.path), "--port", str(port), "--timeout", "5"]
    command += ["--grace", "1"]
    with (home.path / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until_ready(home, process)
    except BaseException:
        process.kill()
        raise
    return process


def wait_until_ready(home: Home, process: "subprocess.Popen[bytes]") -> None:
    folder = GatewayFolder(home.path)
    until = time.monotonic() + 60
    while (status := folder.status()) is None or any(status.policies.values()):
        assert process.poll() is None, (home.path / "log").read_text()[-2000:]
        assert time.monotonic() < until, status
        time.sleep(0.1)
    assert set(status.policies) == {home.first, home.second}


def acted(client: RobotClient, episode: str, tick: int) -> Answer:
    """The policy's answer, however long the gateway takes to come back."""
    client.start_episode(episode, "go to the red box")
    until = time.monotonic() + 20
    while (answered := client.act(perceived(tick), "go to the red box", tick)) is None:
        assert time.monotonic() < until, client.problem
        time.sleep(0.05)
    return answered


def test_a_gateway_killed_and_started_again_goes_on_with_the_same_assignment(
    cluster: str, applications: Applications, home: Home
) -> None:
    del applications  # their replicas are found by the process
    with open_ledger(f"sqlite:///{home.path / 'ledger.db'}") as ledger:
        prepare(home, ledger)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        client = RobotClient(f"ws://127.0.0.1:{port}", "key of scout-01", SCOUT, "scout-01", 5.0)
        process = started(home, cluster, port)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as ready:
                assert ready.status == 200
            before = [acted(client, f"episode-{number}", 0) for number in range(3)]
            journal = home.path / "serving" / "access.jsonl"
            assert eventually(lambda: journal.exists() and journal.read_text().count('"answered"') == 3)
            process.kill()
            process.wait()
            process = started(home, cluster, port)
            continued = acted(client, "episode-2", 1)
            assert (continued.policy, continued.arm) == (before[2].policy, before[2].arm)
            again = acted(client, "episode-2", 1)
            np.testing.assert_array_equal(continued.chunk, again.chunk)
            after = acted(client, "episode-3", 0)
            arms = [answered.arm for answered in (*before, after)]
            assert (sorted(arms[:2]), sorted(arms[2:])) == (["A", "B"], ["A", "B"]), "no block lost its counter"
            assert [assignment.arm for assignment in ledger.assignments("rollout-1")] == arms
            ended = Event(at=3.0, kind="rollout.ended", actor="test", payload={})
            undone = json.dumps(state_to_json(RolledBack(since=3.0, reason="test")))
            ledger.advance_rollout("rollout-1", 0, undone, ended, ended=True)
            until = time.monotonic() + 20
            while set(serve.status().applications) != {f"policy-{home.first}"}:
                assert time.monotonic() < until, "the candidate, which nothing names any more, still runs"
                time.sleep(0.2)
            assert acted(client, "episode-4", 0).policy == home.first
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            served = set(serve.status().applications)
            assert served == {f"policy-{home.first}"}, "it took down what other gateways of this cluster serve"
        finally:
            client.close()
            process.kill()
            process.wait()
    lines = journal.read_text().splitlines()
    assert sum(json.loads(line)["outcome"] == "answered" for line in lines) == 7


def test_another_engine_is_held_against_fp32_before_it_answers(cluster: str, home: Home, pool: Pool) -> None:
    """What runs in another engine is another gateway's, for as long as its policy is wanted."""
    del cluster
    keys = Keys(folder=home.path / "keys")
    permits = Permits(FolderStore(home.path / "store"), keys, keys.anchor, home.path / "serving")
    store, loads, bf16 = str(home.path / "store"), Loads(home.path / "loads.json"), Engine(precision="bf16")
    others = Pool()
    others.attach(LOOP)
    other = Applications(store, permits.replicas, pool=others, loads=loads, num_cpus=0.1)
    found = Applications(store, permits.replicas, pool=pool, loads=loads, engine=bf16, num_cpus=0.1)
    stages = set()
    until = time.monotonic() + 120
    while other.look(lambda: frozenset({home.second})) != {home.second: ""}:
        assert time.monotonic() < until, other.problem(home.second)
        time.sleep(0.2)
    while found.look(lambda: frozenset({home.second})) != {home.second: ""} or home.second not in found.parity:
        assert time.monotonic() < until, found.problem(home.second)
        stages |= {status.stage for status in [found.status(home.second)] if status is not None}
        time.sleep(0.2)
    assert stages <= {"starting", "warming"}
    robots = found.parity[home.second]
    assert [one.tag for one in robots] == sorted(SHIPPED)
    assert all(one.cosine > 0.999 and 0 < one.difference < 0.005 for one in robots)
    assert loads.expected_s is not None
    names = {f"policy-{home.second}", f"policy-{home.second}-bf16"}
    assert set(serve.status().applications) == names
    found.look(frozenset)
    while names & set(serve.status().applications):
        assert time.monotonic() < until, "nobody wants the policy, and it is still there"
        time.sleep(0.2)
    LOOP.call_soon_threadsafe(others.close)
