"""LeRobot's protocol on a real port: many robots beside each other, and nobody else."""

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from serving.grpc_listener import listen_lerobot
from tests.integration.gateways import BROKEN, SLOW, WILD, Controllers, eventually, steer
from tests.integration.lerobot_ports import Client, fleet, key_of, rover, running_lerobot
from tests.unit.data.bundles import ROVER
from tests.unit.inference.protocols.hostile_pickles import acting, bombs, foreign
from tests.unit.inference.protocols.lerobot_frames import alias, features, message, pickled, raw
from volano.embodiment.contract import Camera
from volano.errors import ServeError

_CHUNKS = 5000
"""Of each of two robots."""


class Echo(Controllers):
    """Answers with the state that it saw, in every row."""

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        del policy, within_s
        return np.tile(observation["observation/state"], (ROVER.horizon, 1))


def refused(call: Any, *arguments: Any, **named: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **named)
    error: Any = caught.value
    return error.code(), error.details()


def test_a_robot_gets_actions_from_the_moment_that_it_observed() -> None:
    with running_lerobot(fleet("rover-01")) as (running, port), Client(port=port).start() as client:
        client.observe(rover(41, state=(0.25, -0.5)))
        got = client.actions()
        assert client.actions() == [], "one observation, one chunk"
    seen = running.act.seen[0]
    expected = steer(seen["observation/state"], float(seen["observation/image/ego"].mean()), 1.0)
    assert np.array([action.action for action in got]).tobytes() == expected.tobytes()
    assert [action.timestep for action in got] == list(range(41, 49))
    assert [action.timestamp for action in got] == [1.7e9 + row / ROVER.rate_hz for row in range(8)]
    assert (seen["prompt"], seen["volano"]["robot"]) == ("go", "rover-01")
    assert [access.outcome for access in running.access] == ["answered"]


def test_a_client_takes_as_many_rows_as_it_wants() -> None:
    with running_lerobot(fleet("rover-01")) as (_, port):
        for wanted, got in ((3, 3), (500, 8)):
            with Client(port=port) as client:
                client.instruct(actions_per_chunk=wanted)
                client.observe(rover(0))
                assert len(client.actions()) == got


def _talk(port: int, robot: str, mark: float, failures: list[str]) -> None:
    with Client(port=port, robot=robot).start() as client:
        sent = rover(0)
        for number in range(_CHUNKS):
            tag = float(np.float32(number / _CHUNKS))
            observation = sent.observation | {"speed": mark, "yaw_rate": tag}
            client.observe(replace(sent, timestep=number, observation=observation))
            got = client.actions()
            rows = {(float(action.action[0]), float(action.action[1])) for action in got}
            if rows != {(mark, tag)} or got[0].timestep != number:
                failures.append(f"{robot} {number}: {rows}")


@pytest.mark.slow
def test_of_ten_thousand_chunks_none_goes_to_another_robot() -> None:
    """Meanwhile a third robot begins again and again, and strangers say Ready."""
    failures: list[str] = []
    names = ("rover-01", "rover-02", "rover-03")
    with running_lerobot(fleet(*names), Echo(), timeout_s=20.0) as (_, port):
        talks = [
            threading.Thread(target=_talk, args=(port, names[number], (0.25, 0.75)[number], failures))
            for number in range(2)
        ]
        for talk in talks:
            talk.start()
        begun = 0
        while any(talk.is_alive() for talk in talks):
            with Client(port=port, robot="rover-03").start() as third, Client(port=port) as stranger:
                stranger.ready()
                third.observe(rover(0, state=(-1.0, -1.0)))
                begun += 1
            talks[0].join(timeout=0.5)
    assert failures == []
    assert begun > 3


def test_a_slow_policy_of_one_robot_blocks_no_other_and_makes_it_hold() -> None:
    directory = fleet("rover-01", "rover-02", think=SLOW)
    with (
        running_lerobot(directory, Controllers(slow_s=60.0), timeout_s=4.0) as (running, port),
        Client(port=port).start() as slow,
        Client(port=port, robot="rover-02").start() as quick,
    ):
        slow.observe(rover(0, task="think"))
        asked = slow.asking()
        assert eventually(lambda: bool(running.act.seen))
        for number in range(20):
            quick.observe(rover(number))
            assert quick.actions()[0].timestep == number
        assert not asked.done(), "the quick robot waited for the slow one"
        assert asked.result() == b"", "late is no action"
        slow.observe(rover(0, must_go=False))
        assert slow.actions()[0].timestep == 0, "an observation that got no actions is asked again"


@pytest.mark.parametrize("policy", [BROKEN, WILD])
def test_a_policy_that_fails_makes_a_robot_hold(policy: str) -> None:
    with running_lerobot(fleet("rover-01", fail=policy)) as (running, port), Client(port=port).start() as client:
        client.observe(rover(0, task="fail"))
        assert client.actions() == []
        client.observe(rover(0, task="go"))
        assert len(client.actions()) == 8
    assert [access.outcome for access in running.access] == ["E-SERVE-001", "answered"]


def test_a_ledger_that_is_busy_makes_a_robot_hold_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with running_lerobot(fleet("rover-01")) as (_, port), Client(port=port).start() as client:
        client.observe(rover(0, task="locked"))
        assert client.actions() == []
    assert "ledger.db is locked" in caplog.text
    assert "Traceback" not in caplog.text


def test_the_newest_observation_wins_and_the_same_moment_is_not_asked_twice() -> None:
    with running_lerobot(fleet("rover-01")) as (running, port), Client(port=port).start() as client:
        for number in range(5):
            client.observe(rover(number, must_go=False))
        assert client.actions()[0].timestep == 4
        client.observe(rover(4, must_go=False))
        assert client.actions() == []
        client.observe(rover(4))
        assert client.actions()[0].timestep == 4
    assert len(running.act.seen) == 2


def test_episodes_end_where_a_client_begins_anew_or_its_task_changes() -> None:
    with running_lerobot(fleet("rover-01")) as (running, port):
        for _ in range(2):
            with Client(port=port).start() as client:
                for number, task in enumerate(("go", "go", "turn")):
                    client.observe(rover(number, task=task))
                    assert client.actions()
    episodes = [access.episode for access in running.access]
    assert [access.tick for access in running.access] == [0, 1, 0] * 2
    assert len(set(episodes)) == 4


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"pretrained_name_or_path": "user/model"}, "UNAUTHENTICATED", "E-WIRE-002"),
        ({"pretrained_name_or_path": alias("rover-01", "wrong")}, "UNAUTHENTICATED", "E-WIRE-002"),
        ({"pretrained_name_or_path": alias("rover-02", key_of("rover-01"))}, "UNAUTHENTICATED", "E-WIRE-002"),
        ({"data": b"cos\nsystem\n(S'true'\ntR."}, "INVALID_ARGUMENT", "E-WIRE-001"),
        ({"device": "x" * 70_000}, "RESOURCE_EXHAUSTED", "E-WIRE-004"),
        ({"lerobot_features": features()}, "FAILED_PRECONDITION", "'speed', 'yaw_rate'"),
        ({"actions_per_chunk": 1}, "FAILED_PRECONDITION", "E-CONTRACT-001"),
    ],
)
def test_who_is_not_the_robot_of_its_contract_never_begins(
    changes: dict[str, Any], status: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running_lerobot(fleet("rover-01")) as (running, port), Client(port=port) as client:
        client.ready()
        code, details = refused(client.instruct, **changes)
        assert (code, said in details, details.count("\n")) == (getattr(grpc.StatusCode, status), True, 0)
        assert refused(client.observe, rover(0))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert refused(client.actions)[0] is grpc.StatusCode.UNAUTHENTICATED
    assert running.act.seen == []
    assert running.directory.asked == []
    assert "key-of" not in caplog.text + details


def test_the_key_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with running_lerobot(fleet("rover-01")) as (_, port), Client(port=port).start() as client:
        client.observe(rover(0))
        assert client.actions()
    assert "robot rover-01 speaks LeRobot" in caplog.text
    assert "key-of" not in caplog.text


def test_whoever_says_ready_is_nobody_until_it_says_who_it_is() -> None:
    with running_lerobot(fleet("rover-01")) as (_, port), Client(port=port).start() as client:
        client.observe(rover(0))
        client.ready()
        assert refused(client.observe, rover(1))[0] is grpc.StatusCode.UNAUTHENTICATED
        client.instruct()
        client.observe(rover(2))
        assert client.actions()[0].timestep == 2


def test_a_second_client_on_one_connection_is_refused_and_the_first_goes_on() -> None:
    names = ("rover-01", "rover-02")
    with (
        running_lerobot(fleet(*names)) as (_, port),
        Client(port=port, shared=True).start() as first,
        Client(port=port, robot="rover-02", shared=True) as second,
    ):
        first.observe(rover(0))
        assert first.actions()[0].timestep == 0
        for call in (second.ready, second.instruct):
            code, details = refused(call)
            assert (code, "process of its own" in details) == (grpc.StatusCode.UNAUTHENTICATED, True)
        first.observe(rover(1))
        assert first.actions()[0].timestep == 1


def test_a_robot_whose_key_is_revoked_ends_with_its_episode() -> None:
    with running_lerobot(fleet("rover-01")) as (running, port), Client(port=port).start() as client:
        client.observe(rover(0))
        assert client.actions()
        running.directory.robots.clear()
        client.observe(rover(1))
        assert client.actions()
        client.observe(rover(2, task="another"))
        assert refused(client.actions)[0] is grpc.StatusCode.UNAUTHENTICATED
        assert refused(client.observe, rover(3))[0] is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"speed": float("nan")}, "INVALID_ARGUMENT", "'speed'"),
        ({"speed": "fast"}, "FAILED_PRECONDITION", "'speed'"),
        ({"top": 1.0}, "FAILED_PRECONDITION", "'top'"),
        ({"ego": np.zeros((2, 2, 3), np.uint8)}, "FAILED_PRECONDITION", "image/ego"),
        ({"task": "x" * 2000}, "INVALID_ARGUMENT", "prompt"),
    ],
)
def test_a_wrong_observation_is_refused_by_its_field_before_any_model(
    changes: dict[str, Any], status: str, said: str
) -> None:
    with running_lerobot(fleet("rover-01")) as (running, port), Client(port=port).start() as client:
        wrong = rover(0)
        code, details = refused(client.observe, replace(wrong, observation=wrong.observation | changes))
        assert (code, said in details, "Traceback" in details) == (getattr(grpc.StatusCode, status), True, False)
        assert running.act.seen == []
        client.observe(rover(1))
        assert client.actions()[0].timestep == 1
    assert [access.outcome for access in running.access] == [details.split()[0], "answered"]


def test_hostile_pickles_do_nothing_and_the_robot_goes_on(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    hostile = [*acting(canary), *foreign(), *bombs()]
    codes = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    with running_lerobot(fleet("rover-01")) as (running, port), Client(port=port).start() as client:
        for label, data in hostile:
            assert refused(client.send, message(data, 3))[0] in codes, label
        client.observe(rover(1))
        assert client.actions()[0].timestep == 1
    assert len(running.access) == len(hostile) + 1
    assert not canary.exists()


def test_a_large_observation_comes_in_parts_and_a_larger_one_not_at_all() -> None:
    large = replace(ROVER, cameras=(Camera(name="ego", height=1080, width=1920), ROVER.cameras[1]))
    with running_lerobot(fleet("rover-01", embodiment=large)) as (running, port), Client(port=port) as client:
        client.instruct(lerobot_features=features(large))
        sent = rover(3)
        image = raw(large, 3)["ego"]
        data = pickled(replace(sent, observation=sent.observation | {"ego": image}))
        cuts = [data[start : start + (2 << 20)] for start in range(0, len(data), 2 << 20)]
        assert len(cuts) == 3
        client.send(*(message(cut, state) for state, cut in zip((1, 2, 3), cuts, strict=True)))
        assert client.actions()[0].timestep == 3
        assert running.act.seen[0]["observation/image/ego"].tobytes() == image.tobytes()
        piece = bytes(2 << 20)
        for parts in (
            [message(piece, 1), *[message(piece, 2)] * 8],
            [message(b"", 2)] * 70,
            [message(piece + piece, 1)],
        ):
            assert refused(client.send, *parts)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        for parts in ([message(data[:99], 1)], [], [b"\x08\x07"], [b"garbage"]):
            assert refused(client.send, *parts)[0] is grpc.StatusCode.INVALID_ARGUMENT
        client.send(*(message(cut, state) for state, cut in zip((1, 2, 3), cuts, strict=True)))
        assert client.actions()[0].timestep == 3


def test_two_observations_of_one_robot_at_once_are_one_too_many() -> None:
    held, go = threading.Event(), threading.Event()

    def slowly() -> Any:
        yield message(b"", 1)
        held.set()
        go.wait(10)
        yield message(pickled(rover(0)), 3)

    with running_lerobot(fleet("rover-01")) as (_, port), Client(port=port).start() as client:
        with ThreadPoolExecutor(1) as pool:
            method = client.channel.stream_unary("/transport.AsyncInference/SendObservations")
            first = pool.submit(method, slowly(), timeout=20)
            assert held.wait(10)
            assert eventually(lambda: _second_is_refused(client))
            go.set()
            assert first.result() == b""
        assert client.actions()


def _second_is_refused(client: Client) -> bool:
    try:
        client.observe(rover(1))
    except grpc.RpcError as error:
        return bool(error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED)
    return False


def test_a_taken_port_is_said() -> None:
    with running_lerobot(fleet("rover-01")) as (running, port):
        assert running.gateway is not None
        again = listen_lerobot("127.0.0.1", port, running.gateway.entrance)
        with pytest.raises(ServeError, match="cannot listen"):
            asyncio.run_coroutine_threadsafe(again, running.loop).result(10)
