"""An exchanger that ends while a policy does not."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.admission import Admission
from serving.exchange import Conversation, Exchanger
from serving.limits import Limits
from serving.metrics import Metrics
from serving.routes import RobotRecord, Route
from serving.tls import Certificate
from tests.unit.data.bundles import ROVER
from tests.unit.inference.test_session import observation
from volano.errors import Code, LedgerError, PolicyError, ServeError, VolanoError, WireError


class Nobody:
    """A directory that is not asked."""

    def robot(self, key_sha256: str) -> RobotRecord | None:
        raise AssertionError(key_sha256)

    def route(self, robot_id: str, task: str, episode: str) -> Route:
        raise AssertionError((robot_id, task, episode))


def test_a_policy_that_cannot_be_interrupted_keeps_no_gateway_from_stopping() -> None:
    async def ends() -> bool:
        released = asyncio.Event()

        async def stubborn(policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.floating]:
            del policy, observation, within_s
            while not released.is_set():
                with suppress(asyncio.CancelledError):
                    await released.wait()
            return np.zeros((ROVER.horizon, len(ROVER.action)))

        exchanger = Exchanger(
            directory=Nobody(),
            admission=Admission(Nobody().robot),
            act=stubborn,
            access=lambda _: None,
            shadow=lambda _: None,
            timeout_s=0.01,
        )
        with pytest.raises(ServeError) as late:
            await exchanger._ask("a" * 64, ROVER, {}, 0.01)
        assert late.value.code is Code.SERVE_TIMEOUT
        done, _ = await asyncio.wait({asyncio.ensure_future(exchanger.stop())}, timeout=10)
        released.set()
        return bool(done)

    assert asyncio.run(ends())


class Slow(Nobody):
    """A directory whose ledger is locked for a moment."""

    def robot(self, key_sha256: str) -> RobotRecord | None:
        del key_sha256
        return RECORD

    def route(self, robot_id: str, task: str, episode: str) -> Route:
        del robot_id, task, episode
        time.sleep(0.2)
        return Route(policy="a" * 64, shadow=None, rollout="", arm="")


RECORD = RobotRecord(id="rover-01", embodiment=ROVER)


def test_an_observation_that_waited_too_long_for_its_route_gets_no_action() -> None:
    async def acts(policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.floating]:
        del policy, observation, within_s
        return np.zeros((ROVER.horizon, len(ROVER.action)))

    async def talk() -> None:
        slow = Slow()
        exchanger = Exchanger(
            directory=slow,
            admission=Admission(slow.robot),
            act=acts,
            access=lambda _: None,
            shadow=lambda _: None,
            timeout_s=0.1,
        )
        conversation = Conversation(connection="c", key_sha256="k", robot=RECORD, protocol="openpi")
        seen = observation()
        with pytest.raises(ServeError, match="too old"):
            await exchanger.answer(conversation, seen, time.monotonic())
        answer = await exchanger.answer(conversation, seen, time.monotonic())
        assert answer.policy == "a" * 64

    asyncio.run(talk())


def test_what_was_withdrawn_gets_no_more_and_who_names_no_episodes_begins_another() -> None:
    class Rollout(Slow):
        def __init__(self) -> None:
            self.given = "b" * 64

        def route(self, robot_id: str, task: str, episode: str) -> Route:
            del robot_id, task, episode
            return Route(policy=self.given, shadow=None, rollout="rollout-1", arm="B")

    async def acts(policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.floating]:
        del policy, observation, within_s
        return np.zeros((ROVER.horizon, len(ROVER.action)))

    async def talk() -> None:
        directory = Rollout()
        exchanger = Exchanger(
            directory=directory,
            admission=Admission(directory.robot),
            act=acts,
            access=lambda _: None,
            shadow=lambda _: None,
            timeout_s=5.0,
        )
        conversation = Conversation(connection="c", key_sha256="k", robot=RECORD, protocol="openpi")
        seen = observation()
        assert (await exchanger.answer(conversation, seen, time.monotonic())).policy == "b" * 64
        exchanger.withdrawn = frozenset({("rollout-1", "b" * 64)})
        with pytest.raises(ServeError) as caught:
            await exchanger.answer(conversation, seen, time.monotonic())
        assert caught.value.code is Code.ROLLOUT_WITHDRAWN
        directory.given = "a" * 64
        assert (await exchanger.answer(conversation, seen, time.monotonic())).policy == "a" * 64

    asyncio.run(talk())


def test_a_running_episode_begins_once_and_holds_when_its_policy_may_not_act_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Expiring(Slow):
        def __init__(self) -> None:
            self.asked = 0
            self.error: VolanoError | None = None

        def route(self, robot_id: str, task: str, episode: str) -> Route:
            del robot_id, task, episode
            self.asked += 1
            if self.error is not None:
                raise self.error
            return Route(policy="a" * 64, shadow=None, rollout="", arm="")

    async def acts(policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.floating]:
        del policy, observation, within_s
        return np.zeros((ROVER.horizon, len(ROVER.action)))

    async def talk() -> None:
        directory, metrics = Expiring(), Metrics()
        exchanger = Exchanger(
            directory=directory,
            admission=Admission(directory.robot),
            act=acts,
            access=lambda _: None,
            shadow=lambda _: None,
            timeout_s=5.0,
            limits=Limits(episodes_per_minute=1),
            metrics=metrics,
        )
        conversation = Conversation(connection="c", key_sha256="k", robot=RECORD, protocol="openpi")
        for _ in range(2):
            await exchanger.answer(conversation, observation(), time.monotonic())
        assert directory.asked == 1
        monkeypatch.setattr("serving.exchange._ROUTE_S", 0.0)
        await exchanger.answer(conversation, observation(), time.monotonic())
        assert directory.asked == 2
        directory.error = LedgerError(Code.LEDGER_UNAVAILABLE, "the ledger is away", "wait")
        await exchanger.answer(conversation, observation(), time.monotonic())
        directory.error = PolicyError(Code.POLICY_EXPIRED, "the assignment expired", "renew it")
        for _ in range(2):
            with pytest.raises(PolicyError):
                await exchanger.answer(conversation, observation(), time.monotonic())
        directory.error = None
        assert (await exchanger.answer(conversation, observation(), time.monotonic())).policy == "a" * 64
        lines = metrics.text(0.0, ready=True).decode().splitlines()
        [begun] = [line for line in lines if line.startswith("volano_serving_episodes_total{")]
        assert begun.endswith(" 1.0")

    asyncio.run(talk())


def test_a_certificate_that_ended_begins_no_episode_on_a_connection_that_is_open() -> None:
    async def acts(policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.floating]:
        del policy, observation, within_s
        return np.zeros((ROVER.horizon, len(ROVER.action)))

    async def talk() -> None:
        now, slow = 100.0, Slow()
        exchanger = Exchanger(
            directory=slow,
            admission=Admission(slow.robot, certificates=True, now=lambda: now),
            act=acts,
            access=lambda _: None,
            shadow=lambda _: None,
            timeout_s=5.0,
        )
        shown = Certificate(name="rover-01", until=150.0)
        conversation = Conversation(connection="c", key_sha256="k", robot=RECORD, protocol="openpi", certificate=shown)
        await exchanger.answer(conversation, observation(), time.monotonic())
        now = 200.0
        await exchanger.answer(conversation, observation(), time.monotonic())
        with pytest.raises(WireError, match="expired"):
            await exchanger.answer(conversation, observation(prompt="another task"), time.monotonic())

    asyncio.run(talk())
