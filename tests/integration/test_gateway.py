"""The gateway over real sockets: who gets in, what goes out, and that one robot never waits for another."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from serving.routes import RobotRecord
from tests.integration.gateways import (
    ACTING,
    BROKEN,
    KEY,
    SHADOW,
    SLOW,
    WILD,
    Controllers,
    Directory,
    Running,
    eventually,
    hashed,
    running_gateway,
    steer,
)
from tests.unit.data.bundles import ROVER
from volano.errors import ServeError
from volano.flywheel.outcomes import shadow_outcomes
from volano.inference.protocols.arrays import pack, unpack


@contextmanager
def robot(running: Running, key: str = KEY) -> Iterator[ClientConnection]:
    """A connection that has heard the greeting."""
    with connect(
        running.url, additional_headers={"Authorization": f"Api-Key {key}"}, compression=None, max_size=None, proxy=None
    ) as connection:
        greeting = unpack(connection.recv(timeout=5, decode=False))
        assert greeting["embodiment"] == ROVER.fingerprint
        yield connection


def observation(**changes: Any) -> dict[str, Any]:
    fields = {
        "observation/image/ego": np.full((64, 64, 3), 200, np.uint8),
        "observation/image/rear": np.zeros((48, 64, 3), np.uint8),
        "observation/state": np.array([0.1, 0.2], np.float32),
        "prompt": "go to the ball",
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def place(episode: str = "attempt-1", task: str = "go-to", tick: int = 0) -> dict[str, Any]:
    fields = {"robot": "rover-01", "embodiment": ROVER.fingerprint, "task": task, "episode": episode, "tick": tick}
    return observation(volano=fields)


def ask(connection: ClientConnection, message: dict[str, Any]) -> Any:
    """The decoded answer, or the text."""
    connection.send(pack(message))
    reply = connection.recv(timeout=10)
    return reply if isinstance(reply, str) else unpack(reply)


def get(running: Running, path: str) -> tuple[int, bytes]:
    probe = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
    probe.request("GET", path)
    response = probe.getresponse()
    return response.status, response.read()


def test_an_answer_carries_the_action_and_where_it_came_from() -> None:
    with running_gateway() as running:
        with robot(running) as connection:
            answer = ask(connection, place())
        expected = steer(np.array([0.1, 0.2], np.float32), 200.0, 1.0)
        assert answer["actions"].tobytes() == expected.tobytes()
        assert (answer["policy"], answer["rollout"], answer["arm"]) == (ACTING, "rollout-1", "canary")
        assert answer["server_timing"]["infer_ms"] >= 0
        assert [name for name, value in answer.items() if isinstance(value, np.ndarray)] == ["actions"]
        [line] = running.access
        assert (line.robot, line.episode, line.request, line.outcome) == (
            "rover-01",
            "attempt-1",
            answer["request"],
            "answered",
        )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Api-Key wrong"},
        {"Authorization": "Api-Key "},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Api-Key {KEY}{'x' * 600}"},
    ],
)
def test_without_its_key_nobody_gets_in(headers: dict[str, str]) -> None:
    with running_gateway() as running:
        with (
            pytest.raises(InvalidStatus) as caught,
            connect(running.url, additional_headers=headers, proxy=None),
        ):
            pass
        assert caught.value.response.status_code == 401
        assert running.directory.asked == []
        assert running.act.seen == []


def test_a_client_that_sends_no_header_gives_its_key_in_the_address() -> None:
    with running_gateway() as running:
        with connect(f"{running.url}/openpi?key={KEY}", proxy=None) as connection:
            assert unpack(connection.recv(timeout=5, decode=False))["robot"] == "rover-01"
        with pytest.raises(InvalidStatus), connect(f"{running.url}/?key={KEY}&key={KEY}", proxy=None):
            pass


def test_health_needs_no_key_and_other_paths_do() -> None:
    with running_gateway() as running:
        assert get(running, "/healthz") == (200, b"OK\n")
        assert get(running, "/other")[0] == 401


def test_ready_is_another_question_than_alive() -> None:
    with running_gateway() as running:
        assert running.gateway is not None
        assert get(running, "/readyz") == (200, b"OK\n")
        running.gateway.unready = lambda: "1 of 2 policies do not answer"
        assert get(running, "/readyz") == (503, b"1 of 2 policies do not answer\n")
        assert get(running, "/healthz") == (200, b"OK\n")


def test_health_and_other_robots_do_not_wait_for_an_inference() -> None:
    directory = Directory(policies={"slow": SLOW})
    with running_gateway(directory, timeout_s=5.0) as running, robot(running) as slow, robot(running) as quick:
        slow.send(pack(place(task="slow")))
        assert eventually(lambda: len(running.act.seen) == 1)
        waits = []
        for tick in range(20):
            start = time.monotonic()
            assert get(running, "/healthz") == (200, b"OK\n")
            assert "actions" in ask(quick, place(episode="other", tick=tick))
            waits.append(time.monotonic() - start)
        assert max(waits) < 1.0
        assert "actions" in unpack(slow.recv(timeout=5, decode=False))


@pytest.mark.parametrize(
    ("message", "code", "named"),
    [
        (observation(**{"observation/image/ego": None}), "E-CONTRACT-001", "observation/image/ego"),
        (observation(**{"observation/top": np.zeros(3)}), "E-CONTRACT-001", "observation/top"),
        (observation(**{"observation/state": np.full(2, np.nan, np.float32)}), "E-WIRE-003", "observation/state"),
        (observation(prompt="x" * 60_000), "E-WIRE-003", "prompt"),
        (observation(more=np.zeros(500_000, np.uint8)), "E-WIRE-004", ""),
        (place(episode="../../etc"), "E-WIRE-003", "volano.episode"),
    ],
)
def test_a_refusal_is_a_code_and_the_end(message: dict[str, Any], code: str, named: str) -> None:
    with running_gateway() as running, robot(running) as connection:
        text = ask(connection, message)
        assert text.startswith(code)
        assert named in text
        assert "Traceback" not in text
        assert len(text) < 400
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, code)
        assert running.act.seen == []
        assert [line.outcome for line in running.access] == [code]


def test_a_text_frame_is_refused() -> None:
    with running_gateway() as running, robot(running) as connection:
        connection.send("reset")
        assert str(connection.recv(timeout=5)).startswith("E-WIRE-001")


@pytest.mark.parametrize(("policy", "code"), [(SLOW, "E-SERVE-002"), (BROKEN, "E-SERVE-001"), (WILD, "E-SERVE-001")])
def test_no_action_now_means_hold_and_the_talk_goes_on(policy: str, code: str) -> None:
    directory = Directory(policies={"bad": policy})
    with running_gateway(directory, timeout_s=0.2) as running, robot(running) as connection:
        start = time.monotonic()
        text = ask(connection, place(task="bad"))
        assert text.startswith(f"{code}  hold: ")
        assert "secret" not in text
        assert time.monotonic() - start < 1.5
        assert "actions" in ask(connection, place(episode="attempt-2"))


def test_a_ledger_that_is_away_means_hold_and_tells_no_path() -> None:
    with running_gateway() as running, robot(running) as connection:
        assert ask(connection, place(task="locked")) == "E-SERVE-001  hold: E-LEDGER-003, see the gateway's log"
        assert "actions" in ask(connection, place())


def test_a_port_that_is_taken_is_an_error_with_a_code() -> None:
    with (
        running_gateway() as running,
        pytest.raises(ServeError, match="cannot listen"),
        running_gateway(port=running.port),
    ):
        pass


def test_a_task_without_a_policy_means_hold() -> None:
    with running_gateway() as running, robot(running) as connection:
        assert ask(connection, place(task="nobody")).startswith("E-SERVE-001  hold: ")
        assert "actions" in ask(connection, place(episode="attempt-2"))


def test_a_route_is_asked_once_and_kept_through_a_reconnect() -> None:
    with running_gateway() as running:
        with robot(running) as connection:
            for tick in range(3):
                assert ask(connection, place(tick=tick))["policy"] == ACTING
            running.directory.policies["go-to"] = SHADOW
            assert ask(connection, place(tick=3))["policy"] == ACTING
        with robot(running) as connection:
            assert ask(connection, place(tick=4))["policy"] == ACTING
            assert ask(connection, place(episode="attempt-2"))["policy"] == SHADOW
        assert running.directory.asked == [("rover-01", "go-to", "attempt-1"), ("rover-01", "go-to", "attempt-2")]


def test_a_stock_clients_connection_is_one_episode() -> None:
    with running_gateway() as running:
        for _ in range(2):
            with robot(running) as connection:
                assert "actions" in ask(connection, observation())
                assert "actions" in ask(connection, observation())
        assert [task for _, task, _ in running.directory.asked] == ["go to the ball"] * 2
        assert len({episode for _, _, episode in running.directory.asked}) == 2


def _heard(running: Running, shadows: int) -> bool:
    return len(running.shadows) == shadows


def test_a_shadow_sees_everything_and_says_nothing() -> None:
    with running_gateway(Directory(shadow=SHADOW)) as running:
        with robot(running) as connection:
            for tick in range(3):
                answer = ask(connection, place(tick=tick))
                assert answer["policy"] == ACTING
                assert SHADOW not in str(answer)
                assert eventually(partial(_heard, running, tick + 1))
        assert {entry.shadow for entry in running.shadows} == {SHADOW}
        acted = steer(np.array([0.1, 0.2], np.float32), 200.0, 1.0)
        other = steer(np.array([0.1, 0.2], np.float32), 200.0, 0.5)
        share = (acted - other)[: ROVER.execute] / np.array([2.0, 4.0])
        assert running.shadows[0].distance == pytest.approx(float(np.sqrt(np.mean(share**2))), rel=1e-5)
        assert running.shadows[0].clamped == 0.0
        assert 0 < running.shadows[0].latency_s < 1


@pytest.mark.parametrize(("policy", "code"), [(SLOW, "E-SERVE-002"), (BROKEN, "E-SERVE-001"), (WILD, "E-WIRE-005")])
def test_a_bad_shadow_disturbs_nobody(policy: str, code: str) -> None:
    with running_gateway(Directory(shadow=policy), timeout_s=0.5) as running, robot(running) as connection:
        start = time.monotonic()
        for tick in range(5):
            assert "actions" in ask(connection, place(tick=tick))
        assert policy != SLOW or time.monotonic() - start < 0.5
        assert eventually(lambda: any(entry.problem == code for entry in running.shadows))
        assert all(entry.distance is entry.clamped is None for entry in running.shadows)
        assert policy != SLOW or all(entry.latency_s > 0.4 for entry in running.shadows)


def test_a_shadow_that_answers_no_actions_counts_as_invalid_not_as_late() -> None:
    with running_gateway(Directory(shadow=WILD)) as running, robot(running) as connection:
        assert "actions" in ask(connection, place())
        assert eventually(lambda: bool(running.shadows))
        (outcome,) = shadow_outcomes("rollout-1", [asdict(entry) for entry in running.shadows])
    assert (outcome.answers, outcome.invalid, outcome.late) == (1, 1, 0)


@pytest.mark.parametrize("change", ["revoked", "another contract"])
def test_a_revoked_robot_starts_no_episode(change: str) -> None:
    with running_gateway() as running, robot(running) as connection:
        assert "actions" in ask(connection, place())
        if change == "revoked":
            del running.directory.robots[hashed(KEY)]
        else:
            running.directory.robots[hashed(KEY)] = RobotRecord(id="rover-02", embodiment=ROVER)
        assert ask(connection, place(episode="attempt-2")).startswith("E-WIRE-002")


def test_stopping_lets_the_answer_in_flight_go_out() -> None:
    directory = Directory(policies={"slow": SLOW})
    act = Controllers(slow_s=0.5)
    with running_gateway(directory, act, timeout_s=3.0) as running, robot(running) as busy, robot(running) as idle:
        busy.send(pack(place(task="slow")))
        assert eventually(lambda: len(act.seen) == 1)
        stopping = threading.Thread(target=running.stop, daemon=True)
        stopping.start()
        assert "actions" in unpack(busy.recv(timeout=5, decode=False))
        for connection in (busy, idle):
            with pytest.raises(ConnectionClosed) as caught:
                connection.recv(timeout=5)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001
        stopping.join(timeout=60)
        assert not stopping.is_alive()
        with pytest.raises(OSError, match="refused"), connect(running.url, proxy=None):
            pass


def test_many_robots_get_their_own_answers() -> None:
    robots = {hashed(f"key-{number}"): RobotRecord(id=f"rover-{number}", embodiment=ROVER) for number in range(8)}
    failures: list[str] = []

    def talk(running: Running, number: int) -> None:
        with robot(running, f"key-{number}") as connection:
            for tick in range(25):
                state = np.array([number / 10, tick / 100], np.float32)
                answer = ask(connection, observation(**{"observation/state": state}))
                if answer["actions"].tobytes() != steer(state, 200.0, 1.0).tobytes():
                    failures.append(f"rover-{number}, tick {tick}")

    with running_gateway(Directory(robots=robots)) as running:
        threads = [threading.Thread(target=talk, args=(running, number), daemon=True) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert failures == []
        assert len(running.access) == 200
