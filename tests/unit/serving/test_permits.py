"""A gateway is the agent of its robots: no policy answers, and none is loaded, without release and assignment."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving.permits import Permits
from tests.unit.data.memory_store import MemoryStore
from tests.unit.registry.folders import NOW, Platform, platform
from volano.embodiment.shipped import CAR, GLIDER, SCOUT
from volano.errors import Code, PolicyError
from volano.registry import repository
from volano.registry.agent import admit
from volano.registry.keys import Keys
from volano.registry.trust import trusted_from_json

DAY = 86400.0


@dataclass(kw_only=True)
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(kw_only=True)
class Gateway:
    home: Platform
    folder: Path
    clock: Clock = field(default_factory=Clock)

    def start(self, keys: Keys | None = None) -> Permits:
        keys = keys or self.home.keys
        return Permits(self.home.store, keys, self.home.keys.anchor, self.folder, self.clock)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(home=platform(tmp_path), folder=tmp_path / "serving")


def refused(permits: Permits, policy: str, robot: str = "scout-01", contract: str = SCOUT.fingerprint) -> Code:
    with pytest.raises(PolicyError) as caught:
        permits.robot(robot, contract, policy)
    return caught.value.code


def test_a_robot_may_run_what_is_released_for_its_contract(gateway: Gateway) -> None:
    permits = gateway.start()
    assert refused(permits, "e" * 64) is Code.POLICY_UNRELEASED
    policy = gateway.home.release("one").digest
    assert permits.robot("scout-01", SCOUT.fingerprint, policy).counter == 1
    assert permits.robot("scout-01", SCOUT.fingerprint, policy).counter == 1
    assert permits.robot("car-01", CAR.fingerprint, policy).counter == 1
    assert refused(permits, policy, "glider-01", GLIDER.fingerprint) is Code.POLICY_ASSIGNMENT


def test_arms_alternate_and_a_rollback_sticks_across_restarts(gateway: Gateway) -> None:
    old, new = gateway.home.release("one").digest, gateway.home.release("two", bytes(24)).digest
    counters = [
        gateway.start().robot("scout-01", SCOUT.fingerprint, policy).counter
        for policy in (old, new, old, new, new, old)
    ]
    assert counters == [1, 2, 3, 4, 4, 5]


def test_a_withdrawn_policy_is_noticed_by_a_look_and_refused(gateway: Gateway) -> None:
    policy, permits = gateway.home.release("one").digest, gateway.start()
    permits.robot("scout-01", SCOUT.fingerprint, policy)
    permits.replicas(policy)
    repository.withdraw(gateway.home.store, gateway.home.keys, gateway.home.trust, policy, NOW)
    permits.look()
    assert permits.robot("scout-01", SCOUT.fingerprint, policy), "looked at a moment ago"
    gateway.clock.now += 31
    permits.look()
    assert refused(permits, policy) is Code.POLICY_UNRELEASED
    with pytest.raises(PolicyError):
        permits.replicas(policy)


def test_a_gateway_with_the_online_key_keeps_releases_fresh_and_one_without_stops_when_they_expire(
    gateway: Gateway, tmp_path: Path
) -> None:
    policy = gateway.home.release("one").digest
    shutil.copytree(gateway.home.keys.folder, tmp_path / "few")
    (tmp_path / "few" / "online.key").unlink()
    (tmp_path / "few" / "release.key").unlink()
    poor = gateway.start(Keys(folder=tmp_path / "few"))
    for hour in range(20, 100, 20):
        gateway.clock.now = NOW + hour * 3600
        gateway.start().look()
        assert poor.robot("scout-01", SCOUT.fingerprint, policy)
    gateway.clock.now += DAY
    assert refused(poor, policy) is Code.POLICY_EXPIRED


class Hanging(MemoryStore):
    """A store that answers nothing about keys that begin so, until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = ""
        self.asked, self.released = threading.Event(), threading.Event()

    def exists(self, key: str) -> bool:
        if self.prefix and key.startswith(self.prefix):
            self.asked.set()
            self.released.wait(30)
        return super().exists(key)


@pytest.mark.parametrize("prefix", ["trust/", "assignments/scout-02/"])
def test_a_robot_waits_neither_for_a_look_nor_for_another_robot(tmp_path: Path, prefix: str) -> None:
    store = Hanging()
    gateway = Gateway(home=platform(tmp_path, store), folder=tmp_path / "serving")
    policy, permits = gateway.home.release("one").digest, gateway.start()
    permits.robot("scout-01", SCOUT.fingerprint, policy)
    gateway.clock.now += 31
    store.prefix = prefix
    slow = permits.look if prefix == "trust/" else lambda: permits.robot("scout-02", SCOUT.fingerprint, policy)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(slow)
        try:
            assert store.asked.wait(10)
            quick = threads.submit(permits.robot, "scout-01", SCOUT.fingerprint, policy)
            assert quick.result(timeout=10).counter == 1
            assert not waiting.done()
        finally:
            store.released.set()
    waiting.result()


def test_a_replica_goes_on_from_what_its_gateway_believed(gateway: Gateway, tmp_path: Path) -> None:
    manifest = gateway.home.release("one")
    permit = gateway.start().replicas(manifest.digest)
    known = trusted_from_json(permit.trusted)
    admitted = admit(gateway.home.store, known, permit.counter, manifest.digest, tmp_path / "private", NOW)
    assert admitted == manifest


def test_a_gateway_without_a_director_s_key_or_a_root_does_not_start(gateway: Gateway, tmp_path: Path) -> None:
    for keys, anchor in (
        (Keys(folder=tmp_path / "none"), gateway.home.keys.anchor),
        (gateway.home.keys, tmp_path / "no"),
    ):
        with pytest.raises(PolicyError) as caught:
            Permits(gateway.home.store, keys, anchor, gateway.folder, gateway.clock)
        assert caught.value.code is Code.POLICY_KEYS
