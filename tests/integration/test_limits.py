"""What one robot, one address and one silent socket may take of a gateway, over every protocol."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import grpc
import pytest
import zmq
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serving import zmq_listener
from serving.admission import Admission
from serving.http_server import Guests, QuietServer, settings_of
from serving.limits import Limits
from serving.ports import listening_socket
from tests.integration.gateways import KEY, Directory, eventually, running_gateway
from tests.integration.gr00t_ports import ARM_KEY, running_ports
from tests.integration.lerobot_ports import Client, fleet, rover, running_lerobot
from tests.integration.test_gateway import ask, observation, robot
from tests.integration.test_gr00t_ports import UNAUTHORIZED, action, post, socket_of
from tests.integration.test_gr00t_ports import ask as ask_gr00t
from tests.unit.inference.protocols.gr00t_frames import asking, bodies
from tests.unit.inference.protocols.lerobot_frames import alias
from volano.inference.protocols.zmtp import GREETING

SLOW = Limits(answers_per_s=1.0, episodes_per_minute=1e6)
"""Two questions at once, and one each second."""
FEW = Limits(failures_per_s=0.1)
"""Two unknown keys at once."""
TWO = Limits(sockets_per_address=2)


def test_a_robot_that_asks_too_often_is_told_to_hold_and_its_connection_stays() -> None:
    with running_gateway(limits=SLOW) as running, robot(running) as connection:
        found = [ask(connection, observation()) for _ in range(4)]
        assert [isinstance(one, str) for one in found] == [False, False, True, True]
        assert found[2] == "E-SERVE-004  hold: the robot asks more often than it may"
        assert len(running.act.seen) == 2
        until = time.monotonic() + 10
        while isinstance(ask(connection, observation()), str):
            assert time.monotonic() < until, "it gets its share again"
            time.sleep(0.05)
        assert running.counted('volano_serving_holds_total{code="E-SERVE-004",protocol="openpi"}') >= 2


def test_over_gr00ts_ports_too() -> None:
    body = dict(bodies())["act"]
    with running_ports("gr00t", "gr00t-http", limits=SLOW) as (running, ports), socket_of(ports["gr00t"]) as client:
        assert len(ask_gr00t(client, action())) == 2
        assert post(ports["gr00t-http"], "/act", body)[0] == 200
        assert ask_gr00t(client, action())["error"].startswith("E-SERVE-004  hold: ")
        status, told = post(ports["gr00t-http"], "/act", body)
        assert (status, told["detail"][:17]) == (503, "E-SERVE-004  hold")
        assert len(running.act.seen) == 2, "one robot has one share, whatever it speaks"


def test_over_lerobots_port_too() -> None:
    with running_lerobot(fleet("rover-01"), limits=SLOW) as (_, port), Client(port=port).start() as client:
        for number in range(2):
            client.observe(rover(number))
        with pytest.raises(grpc.RpcError) as caught:
            client.observe(rover(3))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "E-SERVE-004" in caught.value.details()
        assert client.actions()


def test_a_robot_that_begins_too_many_episodes_is_told_to_hold() -> None:
    with running_gateway(limits=Limits(episodes_per_minute=2)) as running, robot(running) as connection:
        found = [ask(connection, observation(prompt=f"task {number}")) for number in range(3)]
        assert [isinstance(one, str) for one in found] == [False, False, True]
        assert found[2].startswith("E-SERVE-004  hold: ")
        assert len(running.directory.asked) == 2


def test_an_address_that_guesses_keys_is_sent_away_and_its_robots_are_not() -> None:
    with running_gateway(limits=FEW) as running:
        with robot(running):
            pass
        found = []
        for number in range(4):
            headers = {"Authorization": f"Api-Key guess-{number}"}
            with (
                pytest.raises(InvalidStatus) as caught,
                connect(running.url, additional_headers=headers, proxy=None),
            ):
                pass
            found.append(caught.value.response.status_code)
        assert found == [401, 401, 429, 429]
        with robot(running) as connection:
            assert "actions" in ask(connection, observation())


def test_guesses_are_counted_over_gr00t_and_lerobot_too() -> None:
    with running_ports("gr00t", "gr00t-http", limits=FEW) as (_, ports), socket_of(ports["gr00t"]) as client:
        assert ask_gr00t(client, asking("ping", token="guess")) == UNAUTHORIZED
        assert post(ports["gr00t-http"], "/act", b"{}", Authorization="Bearer another")[0] == 401
        assert ask_gr00t(client, asking("ping", token="guess")) == UNAUTHORIZED, "the same again counts once"
        assert ask_gr00t(client, asking("ping", token="third"))["error"].startswith("E-SERVE-004")
        assert post(ports["gr00t-http"], "/act", b"{}", Authorization="Bearer fourth")[0] == 503
    with running_lerobot(fleet("rover-01"), limits=FEW) as (_, port), Client(port=port) as client:
        codes = []
        for number in range(3):
            client.ready()
            with pytest.raises(grpc.RpcError) as caught:
                client.instruct(pretrained_name_or_path=alias("rover-01", f"guess-{number}"))
            codes.append(caught.value.code())
        assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 2 + [grpc.StatusCode.RESOURCE_EXHAUSTED]


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends a connection that says nothing, greeting or not."""
    connection.settimeout(10)
    with suppress(ConnectionError):
        while connection.recv(4096):
            pass
    return True


@contextmanager
def raw(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as made:
        yield made


@pytest.mark.parametrize("name", ["openpi", "gr00t", "gr00t-http"])
def test_sockets_of_one_address_are_bounded(name: str) -> None:
    with running_ports("gr00t", "gr00t-http", limits=TWO) as (running, ports), ExitStack() as stack:
        port = {"openpi": running.port, **ports}[name]
        held = [stack.enter_context(raw(port)) for _ in range(2)]
        assert eventually(lambda: running.counted(f'volano_serving_open_sockets{{protocol="{name}"}}') == 2)
        with raw(port) as third:
            assert is_closed(third)
        assert running.counted(f'volano_serving_refusals_total{{code="E-SERVE-004",protocol="{name}"}}') == 1
        for one in held:
            one.close()
        assert eventually(lambda: running.counted(f'volano_serving_open_sockets{{protocol="{name}"}}') == 0)


@contextmanager
def http_door(head_s: float) -> Iterator[int]:
    """An HTTP server with this patience."""

    async def hello(request: Request) -> PlainTextResponse:
        del request
        return PlainTextResponse("hello")

    guests = Guests(Admission(Directory().robot), "gr00t-http", head_s=head_s)
    server = QuietServer(settings_of(Starlette(routes=[Route("/", hello)]), guests, tls=None, drain_s=1))
    made = listening_socket("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([made],), daemon=True)
    thread.start()
    assert eventually(lambda: server.started)
    try:
        yield made.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_http_connections_that_say_nothing_whole_are_closed(said: bytes) -> None:
    with http_door(0.2) as port:
        with raw(port) as silent:
            silent.sendall(said)
            assert is_closed(silent)
        with raw(port) as again:
            again.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert again.recv(4096).startswith(b"HTTP/1.1 200")
            again.sendall(said)
            assert is_closed(again), "also between two requests"


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_WHOLE_S", 0.3), ("_STRANGER_S", 0.3), ("_LOOK_S", 0.05)):
        monkeypatch.setattr(zmq_listener, name, seconds)


@pytest.mark.usefixtures("_impatient")
def test_zeromqs_connections_that_say_nothing_whole_are_closed() -> None:
    with running_ports("gr00t") as (_, ports), socket_of(ports["gr00t"]) as client:
        assert len(ask_gr00t(client, action())) == 2
        for said in (b"", GREETING, GREETING[:11], GREETING + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"):
            with raw(ports["gr00t"]) as silent:
                silent.sendall(said)
                assert is_closed(silent), said
        time.sleep(0.5)
        assert len(ask_gr00t(client, action())) == 2, "a robot may be silent"


def test_a_message_that_never_ends_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    with running_ports("gr00t") as (_, ports), socket_of(ports["gr00t"], zmq.DEALER) as stranger:
        stranger.set(zmq.SNDTIMEO, 500)
        with suppress(zmq.Again):
            for _ in range(300):
                stranger.send(bytes(1 << 20), zmq.SNDMORE)
            stranger.send(b"")
        assert not stranger.poll(200)
        with socket_of(ports["gr00t"]) as client:
            assert len(ask_gr00t(client, action())) == 2
        assert "cut off 127.0.0.1: a message of more than" in caplog.text


def test_new_strangers_take_the_oldest_strangers_place_and_no_robots() -> None:
    limits = Limits(sockets_per_address=500)
    with running_ports("gr00t", limits=limits) as (running, ports), ExitStack() as stack:
        client = stack.enter_context(socket_of(ports["gr00t"]))
        assert len(ask_gr00t(client, action())) == 2
        strangers = [stack.enter_context(raw(ports["gr00t"])) for _ in range(80)]
        assert all(is_closed(one) for one in strangers[:16])
        assert eventually(lambda: running.counted('volano_serving_open_sockets{protocol="gr00t"}') == 65)
        assert len(ask_gr00t(client, action())) == 2


def test_no_key_and_no_task_is_a_label() -> None:
    with running_gateway() as running, robot(running) as connection:
        assert "actions" in ask(connection, observation(prompt="a task that nobody counts"))
        text = running.metrics.text(time.time(), ready=True).decode()
        assert 'robot="rover-01"' in text
        assert KEY not in text
        assert ARM_KEY not in text
        assert "a task that nobody counts" not in text
