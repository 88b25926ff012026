"""GR00T's ports over real sockets: who gets in, what goes out, and that one client never waits for another."""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from serving.listeners import LISTENERS
from tests.integration.gateways import Directory, Running, eventually
from tests.integration.gr00t_ports import ARM_KEY, Replies, running_ports, second_robot
from tests.unit.inference.protocols.gr00t_frames import ARM, asking, bodies, flat, frames, json_numpy, nested
from volano.errors import ServeError

UNAUTHORIZED = {"error": "Unauthorized: Invalid API token"}
Ports = tuple[Running, dict[str, int]]


@dataclass(kw_only=True)
class Gated(Replies):
    """Answers the prompt `wait` only once it is let."""

    waiting: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        if observation["prompt"] == "wait":
            self.waiting.set()
            while not self.let.is_set():
                await asyncio.sleep(0.005)
        return await super().__call__(policy, observation, within_s)


@contextmanager
def socket_of(port: int, kind: int = zmq.REQ) -> Iterator["zmq.Socket[bytes]"]:
    """A client's socket that waits for ten seconds at most."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = context.socket(kind)
    made.set(zmq.LINGER, 0)
    made.set(zmq.RCVTIMEO, 10_000)
    made.connect(f"tcp://127.0.0.1:{port}")
    try:
        yield made
    finally:
        made.close()
        context.term()


def ask(client: "zmq.Socket[bytes]", frame: bytes) -> Any:
    """The unpacked answer."""
    client.send(frame)
    return msgpack.unpackb(client.recv())


def action(prompt: str = "pick the ball", key: str = ARM_KEY) -> bytes:
    observation = {**nested(), "language": {"annotation.human.task_description": [[prompt]]}}
    return asking("get_action", {"observation": observation, "options": None}, key)


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    with running_ports("gr00t", "gr00t-http") as running:
        yield running


@pytest.mark.parametrize("key", ["", "unknown", "x" * 5000])
def test_strangers_are_told_one_thing_whatever_they_ask(ports: Ports, key: str) -> None:
    running, listening = ports
    before = len(running.access)
    with socket_of(listening["gr00t"]) as client:
        for _, frame in frames(key):
            assert ask(client, frame) == UNAUTHORIZED
    assert len(running.access) == before


def test_every_frame_of_a_robot_is_answered(ports: Ports) -> None:
    _, listening = ports
    with socket_of(listening["gr00t"]) as client:
        answers = {name: ask(client, frame) for name, frame in frames(ARM_KEY)}
    assert answers["ping"] == {"status": "ok", "message": "Server is running"}
    assert answers["kill"] == {"error": "E-WIRE-002  no robot stops the gateway; ask whoever runs it"}
    assert sorted(answers["N1.5"]) == ["action.gripper", "action.left_arm"]
    assert answers["N1.6"][1]["arm"] == "canary"
    assert answers["N1.7"][0]["gripper"][b"shape"] == [1, ARM.horizon, 1]


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x91" * 100, b"\xdf\xff\xff\xff\xff", b"\x80\x04\x95pickle."])
def test_garbage_is_answered_by_a_code(ports: Ports, frame: bytes) -> None:
    _, listening = ports
    with socket_of(listening["gr00t"]) as client:
        assert ask(client, frame)["error"].startswith("E-WIRE-001")
        assert ask(client, asking("ping", token=ARM_KEY))["status"] == "ok"


def test_a_wrong_observation_is_refused_by_name_and_the_client_may_ask_again(ports: Ports) -> None:
    _, listening = ports
    with socket_of(listening["gr00t"]) as client:
        refused = ask(client, asking("get_action", flat(video__ego=None), ARM_KEY))
        assert refused["error"].startswith("E-CONTRACT-001")
        assert "observation/image/ego" in refused["error"]
        assert len(ask(client, action())) == 2


def test_messages_of_other_sockets_are_dropped(ports: Ports) -> None:
    _, listening = ports
    ping = asking("ping", token=ARM_KEY)
    with socket_of(listening["gr00t"], zmq.DEALER) as client:
        for parts in ([ping], [b"", ping, ping], [b"x", ping], [b"", b"", b"", ping]):
            client.send_multipart(parts)
        client.send_multipart([b"", ping])
        answer = client.recv_multipart()
        assert msgpack.unpackb(answer[1])["status"] == "ok"
        assert not client.poll(100)


def test_a_client_with_too_large_a_message_is_cut_off_alone(ports: Ports) -> None:
    _, listening = ports
    with socket_of(listening["gr00t"]) as client, socket_of(listening["gr00t"]) as other:
        client.set(zmq.RCVTIMEO, 500)
        client.send(bytes(3 << 20))
        with pytest.raises(zmq.Again):
            client.recv()
        assert len(ask(other, action())) == 2


def test_a_reset_begins_an_episode(ports: Ports) -> None:
    running, listening = ports
    with socket_of(listening["gr00t"]) as client:
        for frame in (action(), action(), asking("reset", {"options": None}, ARM_KEY), action(), action("push")):
            ask(client, frame)
    ticks = [access.tick for access in running.access[-4:]]
    episodes = [access.episode for access in running.access[-4:]]
    assert ticks == [0, 1, 0, 0]
    assert len(set(episodes)) == 3
    assert episodes[0] == episodes[1]


def test_one_that_waits_keeps_nobody_else_waiting() -> None:
    policy = Gated()
    with (
        running_ports("gr00t", "gr00t-http", act=policy) as (_, listening),
        ThreadPoolExecutor(1) as pool,
        socket_of(listening["gr00t"]) as slow,
    ):
        waiting = pool.submit(ask, slow, action("wait"))
        assert policy.waiting.wait(10)
        with socket_of(listening["gr00t"]) as other:
            assert len(ask(other, action())) == 2
        assert post(listening["gr00t-http"], "/act", dict(bodies())["act"])[0] == 200
        assert not waiting.done()
        policy.let.set()
        assert len(waiting.result(10)) == 2


def test_who_asks_twice_at_once_is_told_to_hold() -> None:
    policy = Gated()
    with running_ports("gr00t", act=policy) as (_, listening), socket_of(listening["gr00t"], zmq.DEALER) as client:
        client.send_multipart([b"", action("wait")])
        assert policy.waiting.wait(10)
        client.send_multipart([b"", action()])
        assert msgpack.unpackb(client.recv_multipart()[1])["error"].startswith("E-SERVE-001  hold: ")
        policy.let.set()
        assert len(msgpack.unpackb(client.recv_multipart()[1])) == 2


def test_many_clients_get_each_its_own_answers() -> None:
    directory = Directory()
    keys = [f"key-{number}" for number in range(4)]
    for key in keys:
        second_robot(directory, key)

    def ask_often(number: int) -> list[str]:
        key = keys[number % len(keys)]
        with socket_of(listening["gr00t"]) as client:
            return [ask(client, action(f"ball {number}", key))[1]["request"] for _ in range(10)]

    with (
        running_ports("gr00t", directory=directory, act=Echo()) as (running, listening),
        ThreadPoolExecutor(16) as pool,
    ):
        requests = list(pool.map(ask_often, range(16)))
    robots = {access.request: access.robot for access in running.access}
    assert len(robots) == 160
    for number, mine in enumerate(requests):
        assert {robots[request] for request in mine} == {f"arm-of-{keys[number % len(keys)]}"}


@dataclass(kw_only=True)
class Echo(Replies):
    """Answers whatever arm."""

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        del policy, observation, within_s
        await asyncio.sleep(0.001)
        return np.zeros((ARM.horizon, len(ARM.action)), np.float32)


@pytest.mark.parametrize("name", ["gr00t", "gr00t-http"])
def test_what_is_being_answered_goes_out_before_the_port_closes(name: str) -> None:
    policy = Gated()
    with ThreadPoolExecutor(2) as pool:
        with running_ports(name, act=policy) as (_, listening):
            if name == "gr00t":
                waiting = pool.submit(ask_once, listening[name], action("wait"))
            else:
                sent = {"observation": flat(json_numpy)}
                sent["observation"]["annotation.human.task_description"] = ["wait"]
                waiting = pool.submit(post, listening[name], "/act", json.dumps(sent).encode())
            assert policy.waiting.wait(10)
            threading.Timer(0.3, policy.let.set).start()
        assert len(waiting.result(10)) == 2


def ask_once(port: int, frame: bytes) -> Any:
    with socket_of(port) as client:
        return ask(client, frame)


@pytest.mark.parametrize("name", ["gr00t", "gr00t-http"])
def test_a_port_that_is_taken_is_refused_by_a_code(ports: Ports, name: str) -> None:
    running, listening = ports
    assert running.gateway is not None
    entrance = running.gateway.entrance

    async def listen() -> None:
        await LISTENERS[name]("127.0.0.1", listening["gr00t"], entrance)

    with pytest.raises(ServeError, match="E-SERVE-001"):
        asyncio.run_coroutine_threadsafe(listen(), running.loop).result(10)


def post(port: int, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    """Status and parsed answer of one request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    sent = {"Authorization": f"Bearer {ARM_KEY}"} | {name.replace("_", "-"): text for name, text in headers.items()}
    try:
        connection.request("POST", path, body, sent)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize("authorization", ["", "Bearer unknown", "Basic eDp5", ARM_KEY, "Api-Key " + "x" * 1000])
def test_http_admits_no_stranger(ports: Ports, authorization: str) -> None:
    _, listening = ports
    for path in ("/act", "/reset"):
        status, told = post(listening["gr00t-http"], path, b"{}", Authorization=authorization)
        told_so = "E-WIRE-002  unknown or missing key; enroll the robot, and give it its key"
        assert (status, told) == (401, {"detail": told_so})


def test_http_answers_by_either_kind_of_key_and_resets(ports: Ports) -> None:
    running, listening = ports
    port, body = listening["gr00t-http"], dict(bodies())["act"]
    assert post(port, "/act", body)[0] == 200
    status, actions = post(port, "/act", body, Authorization=f"Api-Key {ARM_KEY}")
    assert (status, actions["action.left_arm"]["shape"]) == (200, [ARM.horizon, 2])
    assert post(port, "/reset", b"") == (200, {"status": "reset"})
    assert post(port, "/act", body)[0] == 200
    first, second, after = running.access[-3:]
    assert (second.tick - first.tick, after.tick) == (1, 0)
    assert (second.episode == first.episode, after.episode == first.episode) == (True, False)


def test_http_reads_nothing_of_a_body_that_is_too_large(ports: Ports) -> None:
    _, listening = ports
    connection = http.client.HTTPConnection("127.0.0.1", listening["gr00t-http"], timeout=10)
    connection.putrequest("POST", "/act")
    connection.putheader("Authorization", f"Bearer {ARM_KEY}")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["detail"][:10]) == (413, "E-WIRE-004")
    connection.close()


def test_http_reads_no_body_of_unknown_length(ports: Ports) -> None:
    _, listening = ports
    connection = http.client.HTTPConnection("127.0.0.1", listening["gr00t-http"], timeout=10)
    pieces = iter([b"{}"])
    connection.request("POST", "/act", pieces, {"Authorization": f"Bearer {ARM_KEY}"}, encode_chunked=True)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["detail"][:10]) == (400, "E-WIRE-001")
    connection.close()


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"observation": {}}', b'{"observation": {"a": NaN}}'])
def test_http_refuses_what_is_no_observation(ports: Ports, body: bytes) -> None:
    _, listening = ports
    status, told = post(listening["gr00t-http"], "/act", body)
    assert status == 400
    assert told["detail"].startswith("E-")
    assert "Traceback" not in told["detail"]


def test_http_tells_who_asks_twice_at_once_to_hold() -> None:
    policy = Gated()
    sent = {"observation": flat(json_numpy)}
    sent["observation"]["annotation.human.task_description"] = ["wait"]
    with running_ports("gr00t-http", act=policy) as (_, listening), ThreadPoolExecutor(1) as pool:
        port = listening["gr00t-http"]
        waiting = pool.submit(post, port, "/act", json.dumps(sent).encode())
        assert policy.waiting.wait(10)
        status, told = post(port, "/act", dict(bodies())["act"])
        assert (status, told["detail"][:17]) == (503, "E-SERVE-001  hold")
        policy.let.set()
        assert waiting.result(10)[0] == 200


def test_http_is_healthy_without_a_key_and_has_no_other_doors(ports: Ports) -> None:
    _, listening = ports
    connection = http.client.HTTPConnection("127.0.0.1", listening["gr00t-http"], timeout=10)
    connection.request("GET", "/health")
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())) == (200, {"status": "healthy"})
    for method, path, status in (("GET", "/act", 405), ("POST", "/health", 405), ("GET", "/docs", 404)):
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


def test_a_robot_that_is_revoked_gets_nothing_at_its_next_episode() -> None:
    with running_ports("gr00t") as (running, listening), socket_of(listening["gr00t"]) as client:
        assert len(ask(client, action())) == 2
        running.directory.robots.clear()
        assert len(ask(client, action())) == 2, "its episode goes on, as over the gateway's own port"
        ask(client, asking("reset", {"options": None}, ARM_KEY))
        assert ask(client, action())["error"].startswith("E-WIRE-002")
        assert eventually(lambda: running.access[-1].outcome == "E-WIRE-002")
