"""A gateway that is told to stop: who is in the middle of an episode ends it, nobody begins one."""

import asyncio
from concurrent.futures import Future

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.integration.gateways import BROKEN, SLOW, Controllers, Directory, Running, eventually, running_gateway
from tests.integration.test_gateway import ask, observation, place, robot
from tests.integration.test_own_wire import driving, seen
from volano.inference.protocols.arrays import pack, unpack


def draining(running: Running, within_s: float) -> "Future[None]":
    assert running.gateway is not None
    return asyncio.run_coroutine_threadsafe(running.gateway.drain(within_s), running.loop)


def sent_away(connection: ClientConnection) -> bool:
    """Whether the gateway closes it as one that goes away."""
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=10)
    return closed.value.rcvd is not None and closed.value.rcvd.code == 1001


def test_an_episode_ends_and_none_begins() -> None:
    with running_gateway() as running, robot(running) as acting, robot(running) as resting:
        assert "actions" in ask(acting, place(tick=0))
        gone = draining(running, 60.0)
        assert sent_away(resting)
        for tick in range(1, 4):
            assert "actions" in ask(acting, place(tick=tick))
        with robot(running) as again:  # its network failed, and it came back
            assert "actions" in ask(again, place(tick=4))
            assert not gone.done()
            for connection in (acting, again):
                assert "the gateway is stopping" in ask(connection, place(episode="attempt-2"))
                assert sent_away(connection)
        gone.result(10.0)


def test_a_robot_that_comes_for_an_episode_is_sent_away() -> None:
    with running_gateway() as running, robot(running) as acting:
        assert "actions" in ask(acting, place())
        gone = draining(running, 60.0)
        with robot(running) as late:
            assert "the gateway is stopping" in ask(late, place(episode="attempt-2"))
            assert sent_away(late)
        assert not gone.done()
        assert [line.outcome for line in running.access] == ["answered", "E-SERVE-001"]


def test_a_stock_client_is_let_go_between_two_prompts() -> None:
    with running_gateway() as running, robot(running) as stock:
        assert "actions" in ask(stock, observation())
        gone = draining(running, 60.0)
        assert "actions" in ask(stock, observation())
        assert "the gateway is stopping" in ask(stock, observation(prompt="go home"))
        assert sent_away(stock)
        gone.result(10.0)


def test_our_own_client_comes_back_into_its_episode() -> None:
    with running_gateway() as running, driving(running) as client:
        assert client.act(seen(1), "go", 0) is not None
        gone = draining(running, 60.0)
        with driving(running) as again:
            for tick in range(1, 4):
                assert again.act(seen(1), "go", tick) is not None, again.problem
        assert not gone.done()


def test_an_episode_whose_first_answer_is_under_way_has_begun() -> None:
    directory = Directory(policies={"go-to": SLOW})
    with running_gateway(directory, Controllers(slow_s=0.5), timeout_s=5.0) as running, robot(running) as connection:
        connection.send(pack(place()))
        assert eventually(lambda: bool(running.act.seen))
        gone = draining(running, 60.0)
        assert "actions" in unpack(connection.recv(timeout=10, decode=False))
        assert "actions" in ask(connection, place(tick=1))
        assert not gone.done()


@pytest.mark.parametrize("policy", [SLOW, BROKEN])
def test_a_robot_that_gets_no_actions_is_not_let_go_in_the_middle(policy: str) -> None:
    with running_gateway(timeout_s=0.2) as running, robot(running) as acting:
        assert "actions" in ask(acting, place())
        running.directory.policies["other"] = policy
        with robot(running) as second:
            assert ask(second, place(episode="attempt-2", task="other")).startswith("E-SERVE-")
            gone = draining(running, 60.0)
            for tick in range(1, 3):
                assert ask(second, place(episode="attempt-2", task="other", tick=tick)).startswith("E-SERVE-")
            with robot(running) as again:
                assert ask(again, place(episode="attempt-2", task="other", tick=3)).startswith("E-SERVE-")
                assert ask(again, place(episode="attempt-2", task="other", tick=4)).startswith("E-SERVE-")
        assert not gone.done()


def test_an_episode_without_an_end_keeps_nobody() -> None:
    with running_gateway() as running, robot(running) as acting:
        assert "actions" in ask(acting, place())
        draining(running, 0.3).result(10.0)
        running.stop()
        assert sent_away(acting)


def test_a_gateway_without_robots_ends_at_once() -> None:
    with running_gateway() as running:
        draining(running, 60.0).result(5.0)
