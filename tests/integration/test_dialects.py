"""The gateway's other wires over real sockets: which port or path speaks which, keys in every place, and episodes."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.integration.gateways import KEY, Running, hashed, running_gateway
from tests.integration.stock_clients import DROID, Remembering, directory
from tests.integration.test_gateway import get
from tests.unit.inference.protocols.wires import PROMPT, envelope, picture, roboarena, starvla, vlaeval
from volano.errors import ServeError
from volano.inference.protocols.arrays import pack, unpack
from volano.inference.protocols.spellings import VLA_EVAL

OUTSIDE = np.full((48, 64, 3), 7, np.uint8)
WRIST = np.full((48, 64, 3), 9, np.uint8)
IMAGES = {"observation/exterior_image_0_left": OUTSIDE, "observation/wrist_image_left": WRIST}


@contextmanager
def talking(running: Running, path: str = "", port: int = 0, user: str = "") -> Iterator[ClientConnection]:
    headers = {} if user else {"Authorization": f"Bearer {KEY}"}
    url = f"ws://{user}127.0.0.1:{port or running.port}/{path}"
    with connect(url, additional_headers=headers, compression=None, proxy=None) as connection:
        yield connection


def ask(connection: ClientConnection, message: dict[str, Any], **spelling: Any) -> Any:
    connection.send(pack(message, **spelling))
    reply = connection.recv(timeout=10)
    return reply if isinstance(reply, str) else unpack(reply)


@pytest.fixture
def running() -> Iterator[Running]:
    with running_gateway(
        directory(), Remembering(), more=dict.fromkeys(("roboarena", "starvla", "vlaeval"), 0)
    ) as running:
        yield running


def test_a_port_speaks_its_dialect_and_a_path_any(running: Running) -> None:
    fields = {"openpi": "channels", "roboarena": "needs_wrist_camera", "starvla": "action_chunk_size"}
    for name, field in fields.items():
        with talking(running, port=running.ports.get(name, 0)) as by_port, talking(running, f"{name}/any") as by_path:
            for connection in (by_port, by_path):
                assert field in unpack(connection.recv(timeout=5, decode=False))
    with talking(running, "openpi", running.ports["starvla"]) as connection:
        assert "channels" in unpack(connection.recv(timeout=5, decode=False))


def test_a_client_that_knows_host_and_port_alone_gives_its_key_before_the_host(running: Running) -> None:
    with talking(running, user=f"arm-07:{KEY}@") as connection:
        assert unpack(connection.recv(timeout=5, decode=False))["robot"] == "arm-07"
    for user in ("arm-07:wrong@", f"{KEY}:{KEY}x@"):
        with pytest.raises(InvalidStatus), talking(running, user=user):
            pass


def test_both_probes_are_answered_on_every_port(running: Running) -> None:
    assert get(running, "/healthz") == (200, b"OK\n")
    assert get(running, "/health") == (200, b'{"status": "ok"}\n')


def test_roboarena_s_sessions_and_resets_are_episodes(running: Running) -> None:
    with talking(running, port=running.ports["roboarena"]) as connection:
        connection.recv(timeout=5)
        for session in ("a", "a", "b"):
            assert ask(connection, roboarena(session_id=session, **IMAGES))["actions"].shape == (DROID.execute, 8)
        assert ask(connection, {"endpoint": "reset", "session_id": "b"}) == "reset successful"
        ask(connection, roboarena(session_id="b", **IMAGES))
    assert [access.tick for access in running.access] == [0, 1, 0, 0]
    assert len(running.directory.asked) == 3


def test_starvla_s_refusals_leave_the_connection(running: Running) -> None:
    with talking(running, "starvla") as connection:
        connection.recv(timeout=5)
        one = {"image": [OUTSIDE, WRIST], "lang": PROMPT, "state": np.zeros(8, np.float32)}
        two = ask(connection, {"request_id": "r-1", "payload": starvla(one, one)})
        assert (two["request_id"], two["error"]["code"]) == ("r-1", "E-WIRE-003")
        swapped = one | {"image": [OUTSIDE.transpose(1, 0, 2).copy(), WRIST]}
        assert "swap height and width" in ask(connection, starvla(swapped))["error"]["message"]
        assert ask(connection, starvla(one))["data"]["actions"].shape == (1, DROID.execute, 8)
        del running.directory.robots[hashed(KEY)]
        assert ask(connection, starvla(one | {"lang": "another task"}))["error"]["code"] == "E-WIRE-002"
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=5)
    assert [access.outcome for access in running.access] == ["E-WIRE-003", "E-CONTRACT-001", "answered", "E-WIRE-002"]


def test_vla_eval_speaks_first_and_says_where_episodes_are(running: Running) -> None:
    with talking(running, port=running.ports["vlaeval"]) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.2)
        assert ask(connection, envelope({"protocol_version": 1}, "hello"))["type"] == "hello"
        images = {"exterior_image_0_left": picture(OUTSIDE), "wrist_image_left": WRIST}
        for _ in range(2):
            connection.send(pack(envelope({"task": {}}, "episode_start")))
            for seq in range(2):
                answer = ask(connection, vlaeval(images=images) | {"seq": seq}, spelling=VLA_EVAL)
                assert (answer["type"], answer["seq"], answer["payload"]["actions"].shape) == ("action", seq, (8,))
            connection.send(pack(envelope({"metrics": {}}, "episode_end")))
        wrong = {"exterior_image_0_left": picture(OUTSIDE[:32]), "wrist_image_left": WRIST}
        refused = ask(connection, vlaeval(images=wrong), spelling=VLA_EVAL)
        assert refused["payload"]["error"].startswith("E-CONTRACT-001")
        assert "32 x 64" in refused["payload"]["error"]
        assert ask(connection, vlaeval(images=images), spelling=VLA_EVAL)["type"] == "action"
    act = running.act
    assert isinstance(act, Remembering)
    assert all(np.array_equal(seen["observation/image/exterior_image_0_left"], OUTSIDE) for seen in act.seen)
    assert [access.tick for access in running.access] == [0, 1, 0, 1, -1, 0]


def test_a_further_port_that_is_taken_leaves_no_gateway() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=str(port)), running_gateway(more={"starvla": port}):
            pass
