"""Volano's own wire over real sockets: images as files or by name, and a policy that is not ready yet."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from serving import waiting
from tests.integration.gateways import ACTING, KEY, Directory, Running, eventually, running_gateway
from tests.unit.data.bundles import ROVER, draw, read_number
from tests.unit.inference.test_session import identity, observation
from volano.inference.client import RobotClient
from volano.inference.kept import Named, digest
from volano.inference.protocols import own
from volano.inference.protocols.arrays import unpack
from volano.inference.protocols.dialect import Coding, Terms
from volano.inference.streaming import StreamingClient

EGO = "observation/image/ego"


@dataclass(frozen=True)
class Seen:
    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]


def seen(number: int) -> Seen:
    """The front camera shows a number, the rear one nothing."""
    images = {"ego": draw(number, 64, 64), "rear": np.zeros((48, 64, 3), np.uint8)}
    return Seen(images, np.zeros(2, np.float32))


@contextmanager
def driving(running: Running, images: Coding = "raw") -> Iterator[RobotClient]:
    with closing(RobotClient(running.url, KEY, ROVER, "rover-01", 5.0, images=images)) as client:
        client.start_episode("attempt-1", "go-to")
        yield client


@contextmanager
def talking(running: Running, terms: Terms) -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Api-Key {KEY}"}
    with connect(f"{running.url}/volano", additional_headers=headers, compression=None, proxy=None) as connection:
        connection.send(own.hello(ROVER, terms))
        assert unpack(connection.recv(timeout=5, decode=False))["type"] == "hello"
        yield connection


def ask(connection: ClientConnection, seq: int, **changes: Any) -> dict[str, Any]:
    connection.send(own.ask(seq, observation(**{"volano": identity(), **changes})))
    return unpack(connection.recv(timeout=5, decode=False))


@pytest.mark.parametrize("images", ["raw", "png", "jpeg"])
def test_a_policy_sees_what_the_robot_sees_however_it_is_sent(images: Coding) -> None:
    shown = [7, 7, 8, 7, 7]
    with running_gateway() as running, driving(running, images) as client:
        for tick, number in enumerate(shown):
            assert client.act(seen(number), "go", tick) is not None, client.problem
        assert [read_number(one[EGO]) for one in running.act.seen] == shown
        if images != "jpeg":
            assert all(
                np.array_equal(one[EGO], draw(n, 64, 64)) for one, n in zip(running.act.seen, shown, strict=True)
            )


def test_after_a_gateway_came_back_everything_is_sent_whole() -> None:
    with running_gateway() as running, driving(running) as client:
        assert client.act(seen(1), "go", 0) is not None
        port = running.port
        running.stop()
        with running_gateway(port=port) as again:
            tick = 1
            while client.act(seen(1), "go", tick) is None:
                tick += 1
            assert client.act(seen(1), "go", tick + 1) is not None
            outcomes = [access.outcome for access in again.access]
            assert outcomes in (["answered"] * 2, ["E-WIRE-006", "answered", "answered"]), "it came between two steps"
            assert [read_number(one[EGO]) for one in again.act.seen] == [1, 1]


def test_a_name_that_is_not_known_is_refused_by_a_code_and_the_connection_stays() -> None:
    image = draw(3, 64, 64)
    with running_gateway() as running, talking(running, Terms(coding="raw", unchanged=True)) as connection:
        refused = ask(connection, 1, **{EGO: Named(seq=0, sha256=digest(image))})
        assert (refused["type"], refused["seq"], refused["code"]) == ("refused", 1, "E-WIRE-006")
        assert ask(connection, 2, **{EGO: image})["type"] == "actions"
        assert ask(connection, 3, **{EGO: Named(seq=2, sha256=digest(image))})["type"] == "actions"
        [_, last] = running.act.seen
        assert np.array_equal(last[EGO], image)
        assert [access.outcome for access in running.access] == ["E-WIRE-006", "answered", "answered"]


def test_a_robot_of_another_contract_is_refused_before_it_asks() -> None:
    other = own.hello(ROVER, Terms(coding="raw", unchanged=True)).replace(ROVER.fingerprint.encode(), b"0" * 64)
    with running_gateway() as running:
        headers = {"Authorization": f"Api-Key {KEY}"}
        with connect(f"{running.url}/volano", additional_headers=headers, proxy=None) as connection:
            connection.send(other)
            assert unpack(connection.recv(timeout=5, decode=False))["code"] == "E-CONTRACT-001"
            with pytest.raises(ConnectionClosed):
                connection.recv(timeout=5)


def test_a_robot_that_never_waits_names_images_as_well() -> None:
    with running_gateway() as running:
        client = StreamingClient(running.url, KEY, ROVER, "rover-01", oldest_s=0.8, images="png")
        with closing(client):
            client.start_episode("attempt-1", "go-to")
            tick = 0
            while len(running.act.seen) < 4:
                client.step(seen(5), "go", tick)
                tick += 1
        assert {access.outcome for access in running.access} == {"answered"}
        assert {read_number(one[EGO]) for one in running.act.seen} == {5}


def test_a_robot_that_comes_during_a_cold_start_is_told_at_once_and_until_the_policy_is_ready() -> None:
    told: list[own.Status] = []
    loading = [own.Status(stage="starting", policy=ACTING, elapsed_s=1.0, expected_s=20.0)]
    directory = Directory(policies={"go-to": ACTING})
    with running_gateway(directory, standing=lambda _: loading[0] if loading else None) as running:
        client = RobotClient(running.url, KEY, ROVER, "rover-01", 5.0, on_status=told.append)
        with closing(client):
            assert eventually(lambda: bool(told)), "it need not ask to be told"
            assert client.status == loading[0]
            client.start_episode("attempt-1", "nobody")
            assert client.act(seen(1), "go", 0) is None
            assert client.problem.startswith("E-SERVE-001 hold:")
            loading[0] = own.Status(stage="warming", policy=ACTING, elapsed_s=9.0, expected_s=20.0)
            assert eventually(lambda: told[-1].stage == "warming", 10.0)
            client.start_episode("attempt-2", "go-to")
            assert client.act(seen(1), "go", 0) is not None, "a status between question and answer is none"
            loading.clear()
            assert eventually(lambda: told[-1].stage == "ready", 10.0)
            assert client.act(seen(1), "go", 1) is not None
    assert {status.policy for status in told} == {ACTING}


def test_a_robot_that_holds_and_holds_is_one_read_of_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "EVERY_S", 3600.0)
    asked: list[str] = []
    with (
        running_gateway(standing=lambda robot: asked.append(robot.id)) as running,
        talking(running, Terms(coding="raw", unchanged=False)) as connection,
    ):
        for seq in range(20):
            assert ask(connection, seq, volano=identity(task="nobody"))["code"] == "E-SERVE-001"
        assert eventually(lambda: bool(asked))
    assert asked == ["rover-01"]


def test_other_clients_hear_nothing_that_they_did_not_ask_for() -> None:
    loading = own.Status(stage="starting", policy=ACTING, elapsed_s=1.0, expected_s=None)
    headers = {"Authorization": f"Api-Key {KEY}"}
    with (
        running_gateway(standing=lambda _: loading) as running,
        connect(running.url, additional_headers=headers, proxy=None) as connection,
    ):
        assert unpack(connection.recv(timeout=5, decode=False))["protocol"] == 2
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.5)
