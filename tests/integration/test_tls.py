"""TLS on every port: who is verified, who is refused before anything is read, and certificates that are replaced while
robots talk."""

import asyncio
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from serving.tls import Tls
from tests.integration.authorities import Authority, Pair, files_of
from tests.integration.doors import open_door
from tests.integration.gateways import KEY, Running, eventually, running_gateway
from tests.integration.gr00t_ports import ARM_KEY, running_ports
from tests.integration.lerobot_ports import Client, fleet, rover, running_lerobot
from tests.integration.test_gateway import ask, observation
from tests.integration.test_gr00t_ports import UNAUTHORIZED, action, socket_of
from tests.unit.data.bundles import ROVER, Draft, write_bundle
from tests.unit.inference.protocols.gr00t_frames import asking, bodies
from volano.certificates import client_context
from volano.data.door import Platform
from volano.data.send import question_of
from volano.errors import ConfigError, StorageError
from volano.inference.client import RobotClient
from volano.inference.protocols.arrays import unpack
from volano.inference.tunnel import Place, carry
from volano.storage.folder import FolderStore

HEADERS = {"Authorization": f"Api-Key {KEY}"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(folder=tmp_path)


def trusting(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    """A robot's settings, with its own certificate if it has one."""
    return client_context(authority.path, *((pair.certificate, pair.key) if pair else (None, None)))


@contextmanager
def robot(running: Running, context: ssl.SSLContext) -> Iterator[ClientConnection]:
    url = f"wss://127.0.0.1:{running.port}"
    with connect(url, ssl=context, additional_headers=HEADERS, compression=None, proxy=None) as connection:
        assert unpack(connection.recv(timeout=5, decode=False))["robot"] == "rover-01"
        yield connection


@dataclass(frozen=True)
class Seen:
    """What a robot perceives."""

    images: Mapping[str, NDArray[np.uint8]] = field(
        default_factory=lambda: {name: observation()[f"observation/image/{name}"] for name in ("ego", "rear")}
    )
    state: NDArray[np.float32] = field(default_factory=lambda: observation()["observation/state"])


def acted(running: Running, context: ssl.SSLContext | None) -> str:
    """What the robot's own client hears over TLS: nothing but an action, or its problem."""
    url = f"wss://127.0.0.1:{running.port}"
    client = RobotClient(url, KEY, ROVER, "rover-01", 5.0, tls=context)
    try:
        client.start_episode("attempt-1", "go-to")
        until = time.monotonic() + 20
        while client.act(Seen(), "go to the ball", 0) is None:
            if "certificate" in client.problem or time.monotonic() > until:
                return client.problem
            time.sleep(0.05)  # its lease is not there yet, or it does not know yet why
        return ""
    finally:
        client.close()


def refused(running: Running, context: ssl.SSLContext) -> bool:
    """Whether a connection ends before a greeting, and before its key is asked for."""
    asked = running.counted("volano_serving_requests_total")
    with pytest.raises((OSError, WebSocketException)) as caught, robot(running, context):
        pass
    assert not isinstance(caught.value, InvalidStatus)
    assert running.counted("volano_serving_requests_total") == asked
    return running.directory.asked == [] and running.act.seen == []


def test_the_robots_own_client_verifies_the_platform(authority: Authority, tmp_path: Path) -> None:
    other = Authority(folder=tmp_path, name="other")
    with running_gateway(tls=Tls(files_of(authority.platform()))) as running:
        assert acted(running, trusting(authority)) == ""
        assert "certificate verify failed" in acted(running, trusting(other))
        assert "certificate verify failed" in acted(running, None), "the machine trusts no authority of ours"
        with pytest.raises((OSError, WebSocketException)), connect(f"ws://127.0.0.1:{running.port}", proxy=None):
            pass


def test_an_expired_certificate_of_the_platform_is_not_believed(authority: Authority) -> None:
    with running_gateway(tls=Tls(files_of(authority.platform(days=-1)))) as running:
        assert "certificate verify failed" in acted(running, trusting(authority))


def test_a_robot_is_who_its_certificate_and_its_key_say(authority: Authority, tmp_path: Path) -> None:
    tls = Tls(files_of(authority.platform(), authority.path))
    foreign = Authority(folder=tmp_path, name="foreign")
    with running_gateway(tls=tls) as running:
        assert refused(running, trusting(authority)), "none"
        assert refused(running, trusting(authority, authority.robot("rover-01", file="old", days=-1))), "expired"
        assert refused(running, trusting(authority, foreign.robot("rover-01", file="foreign-robot"))), "foreign"
        with pytest.raises(InvalidStatus) as caught, robot(running, trusting(authority, authority.robot("rover-02"))):
            pass
        assert caught.value.response.status_code == 401
        assert b"certificate" in caught.value.response.body
        assert running.directory.asked == []
        assert acted(running, trusting(authority, authority.robot("rover-01"))) == ""
        assert running.counted('volano_serving_refusals_total{code="E-WIRE-002",protocol="openpi"}') == 1


def test_a_revoked_robot_with_a_good_certificate_is_refused(authority: Authority) -> None:
    tls = Tls(files_of(authority.platform(), authority.path))
    mine = trusting(authority, authority.robot("rover-01"))
    with running_gateway(tls=tls) as running:
        with robot(running, mine) as connection:
            assert "actions" in ask(connection, observation())
            running.directory.robots.clear()
            assert ask(connection, observation(prompt="another task")).startswith("E-WIRE-002")
        with pytest.raises(InvalidStatus), robot(running, mine):
            pass


def test_no_connection_lives_on_what_another_showed(authority: Authority) -> None:
    tls = Tls(files_of(authority.platform(), authority.path))
    context = trusting(authority, authority.robot("rover-01"))
    with running_gateway(tls=tls) as running:
        session: ssl.SSLSession | None = None
        for _ in range(3):
            with (
                socket.create_connection(("127.0.0.1", running.port), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secured,
            ):
                secured.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert secured.recv(100).startswith(b"HTTP/1.1 200")
                assert secured.version() == "TLSv1.3"
                assert not secured.session_reused
                session = secured.session


def test_certificates_are_replaced_while_robots_talk(authority: Authority, tmp_path: Path) -> None:
    tls = Tls(files_of(authority.platform(), authority.path))
    mine = authority.robot("rover-01")
    with running_gateway(tls=tls) as running, robot(running, trusting(authority, mine)) as connection:
        assert "actions" in ask(connection, observation())
        before = tls.until
        (tmp_path / "platform.key").write_text("half a key")
        with pytest.raises(ConfigError):
            tls.reload()
        assert acted(running, trusting(authority, mine)) == "", "what was good goes on"
        newer = Authority(folder=tmp_path, name="newer")
        newer.platform("platform", days=8)
        authority.path.write_bytes(newer.path.read_bytes())
        following = asyncio.run_coroutine_threadsafe(tls.follow(), running.loop)
        assert eventually(lambda: tls.until > before)
        following.cancel()
        assert not tls.reload()
        assert "actions" in ask(connection, observation()), "who is connected notices nothing"
        other = newer.robot("rover-01", file="newer-robot")
        assert acted(running, trusting(newer, other)) == ""
        assert refused_later(running, trusting(newer, mine)), "the old authority's robots come in no more"


def refused_later(running: Running, context: ssl.SSLContext) -> bool:
    with pytest.raises((OSError, WebSocketException)), robot(running, context):
        pass
    return True


def test_gr00t_over_http_is_known_by_certificate_and_key(authority: Authority) -> None:
    tls = Tls(files_of(authority.platform(), authority.path))
    body = dict(bodies())["act"]
    with running_ports("gr00t-http", tls=tls) as (running, ports):

        def post(context: ssl.SSLContext, key: str) -> tuple[int, Any]:
            connection = http.client.HTTPSConnection("127.0.0.1", ports["gr00t-http"], timeout=10, context=context)
            with suppress(BrokenPipeError):
                connection.request("POST", "/act", body, {"Authorization": f"Bearer {key}"})
            response = connection.getresponse()
            found = response.status, json.loads(response.read())
            connection.close()
            return found

        mine = trusting(authority, authority.robot("arm-01"))
        assert post(mine, ARM_KEY)[0] == 200
        status, told = post(trusting(authority, authority.robot("rover-01")), ARM_KEY)
        assert (status, told["detail"][:10]) == (401, "E-WIRE-002")
        assert post(mine, KEY)[0] == 401, "a good key of another robot"
        for context in (trusting(authority), trusting(authority, authority.robot("arm-01", file="old", days=-1))):
            with pytest.raises(OSError, match=r"."):
                post(context, ARM_KEY)
        assert len(running.act.seen) == 1


@contextmanager
def tunnel(running: Running, port: int, context: ssl.SSLContext) -> Iterator[int]:
    """The port of a tunnel to a port."""
    context.set_alpn_protocols(["h2"])
    near, far = Place(host="127.0.0.1", port=0), Place(host="127.0.0.1", port=port)
    server = asyncio.run_coroutine_threadsafe(carry(near, far, context), running.loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        running.loop.call_soon_threadsafe(server.close)


def test_gr00ts_stock_socket_asks_through_a_tunnel(authority: Authority) -> None:
    tls = Tls(files_of(authority.platform(), authority.path))
    with running_ports("gr00t", tls=tls) as (running, ports):
        port = ports["gr00t"]
        with tunnel(running, port, trusting(authority, authority.robot("arm-01"))) as near, socket_of(near) as client:
            client.send(action())
            assert len(msgpack.unpackb(client.recv())) == 2
        other = trusting(authority, authority.robot("rover-01"))
        with tunnel(running, port, other) as near, socket_of(near) as client:
            client.send(action())
            assert msgpack.unpackb(client.recv()) == UNAUTHORIZED
        for context in (trusting(authority), trusting(authority, authority.robot("arm-01", file="old", days=-1))):
            with tunnel(running, port, context) as near, socket_of(near) as client:
                client.send(asking("ping", token=ARM_KEY))
                assert not client.poll(1000)
        with socket_of(port) as client:
            client.send(asking("ping", token=ARM_KEY))
            assert not client.poll(500), "no byte of a client without TLS is answered"
        assert len(running.act.seen) == 1


def test_lerobots_stock_channel_asks_through_a_tunnel(authority: Authority) -> None:
    tls = Tls(files_of(authority.platform(), authority.path))
    with running_lerobot(fleet("rover-01", "rover-02"), tls=tls) as (running, port):
        mine = trusting(authority, authority.robot("rover-01"))
        with tunnel(running, port, mine) as near, Client(port=near).start() as client:
            client.observe(rover(1))
            assert client.actions()
        with tunnel(running, port, mine) as near, Client(port=near, robot="rover-02") as client:
            with pytest.raises(grpc.RpcError) as caught:
                client.start()
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert "certificate" in caught.value.details()
        for context in (trusting(authority), trusting(authority, authority.robot("rover-01", file="old", days=-1))):
            with tunnel(running, port, context) as near, Client(port=near) as client:
                with pytest.raises(grpc.RpcError) as caught:
                    client.ready()
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert len(running.act.seen) == 1


def test_lerobots_port_takes_up_new_certificates(authority: Authority, tmp_path: Path) -> None:
    tls = Tls(files_of(authority.platform()))
    with (
        running_lerobot(fleet("rover-01"), tls=tls) as (running, port),
        tunnel(running, port, trusting(authority)) as near,
        Client(port=near).start() as client,
    ):
        newer = Authority(folder=tmp_path, name="newer")
        newer.platform()
        assert tls.reload()
        client.observe(rover(1))
        assert client.actions(), "who is connected notices nothing"
        with tunnel(running, port, trusting(newer)) as other, Client(port=other) as late:
            assert late.ready() == b""


def test_the_door_for_uploads_speaks_tls(authority: Authority, tmp_path: Path) -> None:
    bundle = tmp_path / "attempts" / "attempt-1"
    (tmp_path / "attempts").mkdir()
    manifest = write_bundle(bundle, Draft())
    (bundle / "manifest.json").write_bytes(manifest.to_bytes())
    (tmp_path / "store").mkdir()
    question = question_of(bundle, manifest)
    tls = Tls(files_of(authority.platform(), authority.path))
    with open_door(FolderStore(tmp_path / "store"), tmp_path, tls=tls) as door:
        mine = trusting(authority, authority.robot("rover-01"))
        assert Platform(door.url, door.key(), timeout_s=20, tls=mine).ask(question)
        for context in (None, trusting(authority)):
            with pytest.raises(StorageError):
                Platform(door.url, door.key(), timeout_s=20, tls=context).ask(question)
        other = trusting(authority, authority.robot("rover-02"))
        with pytest.raises(Exception, match="E-WIRE-002"):
            Platform(door.url, door.key(), timeout_s=20, tls=other).ask(question)
