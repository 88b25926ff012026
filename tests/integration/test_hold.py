"""HOLD over real sockets and processes: robots that stream stand still by an order, by a partition and by a file, and
nothing else has to run for that.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from serving.leases import Leases
from serving.routes import RobotRecord
from tests.integration.gateways import (
    KEY,
    SLOW,
    Controllers,
    Directory,
    Running,
    eventually,
    hashed,
    running_gateway,
)
from tests.integration.partitions import wire
from tests.integration.test_gateway import ask, place
from tests.integration.test_gateway import robot as stock_robot
from tests.unit.data.bundles import ROVER
from tests.unit.inference.hold.orders_of import Operators, resume, stop
from volano.embodiment.contract import Embodiment
from volano.errors import HoldError
from volano.inference.client import RobotClient
from volano.inference.hold.control import send_order
from volano.inference.hold.keeper import nowhere
from volano.inference.hold.lease import LEASE_S, steady_clock
from volano.inference.hold.offline import OfflineHold
from volano.inference.hold.orders import read_authority
from volano.inference.hold.register import REGISTER, HoldRegister
from volano.inference.hold.state import Subject
from volano.inference.protocols.arrays import pack
from volano.inference.streaming import StreamingClient

ROOT = Path(__file__).resolve().parents[2]
ROBOT = replace(ROVER, rate_hz=20.0, horizon=16)
OPERATORS = Operators()
LONG = replace(ROBOT, horizon=200)
"""Its chunks last for ten seconds: nothing but its lease stops it when it is parted."""
PARTITIONS = 3
"""Random ones over real sockets; a thousand more without are in tests/unit/inference/hold."""


@dataclass(frozen=True)
class Seen:
    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float32]


@dataclass(kw_only=True)
class Forward(Controllers):
    """A policy that drives on."""

    robot: Embodiment = ROBOT

    async def __call__(self, policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        del policy, observation, within_s
        return np.full((self.robot.horizon, 2), 0.25, np.float32)


SEEN = Seen(
    {one.name: np.zeros((one.height, one.width, 3), np.uint8) for one in ROBOT.cameras}, np.zeros(2, np.float32)
)


@dataclass(kw_only=True)
class Robot:
    """Steps at its rate in a thread of its own until it is closed."""

    client: StreamingClient
    acted: list[float] = field(default_factory=list)
    """When a policy's action was executed, in seconds of the steady clock."""
    problems: list[str] = field(default_factory=list)
    ended: bool = False

    def drive(self) -> None:
        self.client.start_episode("attempt-1", "go-to")
        tick = 0
        while not self.ended:
            command = self.client.step(SEEN, "go to the ball", tick)
            if command.answer is not None:
                self.acted.append(steady_clock())
            self.problems.append(self.client.problem)
            tick += 1
            time.sleep(1 / ROBOT.rate_hz)

    @property
    def acts(self) -> bool:
        """Whether it acts by a policy from now on."""
        before = len(self.acted)
        return eventually(lambda: len(self.acted) > before + 2, 10.0)

    def says(self, problem: str, within_s: float = 10.0) -> bool:
        """Whether it comes to say that it has this problem."""
        return eventually(lambda: bool(self.problems) and self.problems[-1].startswith(problem), within_s)

    def rests(self) -> bool:
        """Whether twenty ticks go by without a policy's action."""
        seen, before = len(self.problems), len(self.acted)
        assert eventually(lambda: len(self.problems) > seen + 20, 20.0)
        return len(self.acted) == before


@contextmanager
def streaming(port: int, body: Embodiment = ROBOT, offline: Callable[[], str] = nowhere) -> Iterator[Robot]:
    url, oldest_s = f"ws://127.0.0.1:{port}", body.horizon / body.rate_hz
    with closing(StreamingClient(url, KEY, body, "rover-01", oldest_s=oldest_s, offline=offline)) as client:
        robot = Robot(client=client)
        thread = threading.Thread(target=robot.drive, daemon=True)
        thread.start()
        yield robot
        robot.ended = True
        thread.join(timeout=30)


@contextmanager
def gateway(register: HoldRegister, body: Embodiment = ROBOT) -> Iterator[Running]:
    directory = Directory(robots={hashed(KEY): RobotRecord(id="rover-01", embodiment=body, site="hall-2")})
    with running_gateway(directory, Forward(robot=body), leases=Leases(register, OPERATORS.authority)) as running:
        yield running


def test_a_robot_that_streams_stops_by_an_order_and_acts_again_by_another(tmp_path: Path) -> None:
    with gateway(HoldRegister(tmp_path / REGISTER)) as running, streaming(running.port) as robot:
        assert robot.acts
        others, meant = stop({"site": "hall-9"}), stop({"site": "hall-2"})
        assert send_order(running.url, OPERATORS.signed(others))["held"] == 0
        assert robot.acts
        assert send_order(running.url, OPERATORS.signed(meant)) == {
            "order": meant.id,
            "new": True,
            "connected": 1,
            "held": 1,
        }
        assert robot.says("E-HOLD-001 stopped by ada: smoke")
        assert robot.rests()
        assert send_order(running.url, OPERATORS.signed(meant))["new"] is False
        assert send_order(running.url, OPERATORS.signed(resume(meant)))["held"] == 0
        assert robot.acts


def test_nobody_else_stops_or_resumes(tmp_path: Path) -> None:
    strangers, meant = Operators(), stop()
    with gateway(HoldRegister(tmp_path / REGISTER)) as running, streaming(running.port) as robot:
        for order in (stop(), resume(stop())):
            with pytest.raises(HoldError, match="E-HOLD-003"):
                send_order(running.url, strangers.signed(order))
        for frame in ("", "{}", "x" * 100_000):
            with pytest.raises(HoldError, match="E-HOLD-005"):
                send_order(running.url, frame.encode())
        assert robot.acts
        send_order(running.url, OPERATORS.signed(meant))
        forged = Operators(stopper=OPERATORS.stopper, resumer=OPERATORS.stopper)
        with pytest.raises(HoldError, match="no trusted key"):
            send_order(running.url, forged.signed(resume(meant)))
        assert robot.rests()


def test_strangers_who_say_nothing_make_room_for_an_operator(tmp_path: Path) -> None:
    with gateway(HoldRegister(tmp_path / REGISTER)) as running, ExitStack() as opened:
        silent = [opened.enter_context(connect(f"{running.url}/control", proxy=None)) for _ in range(20)]
        assert send_order(running.url, OPERATORS.signed(stop()))["new"] is True
        with pytest.raises(ConnectionClosed):
            silent[0].recv(timeout=10)


def test_an_order_waits_for_nothing_that_hangs_elsewhere_in_the_gateway(tmp_path: Path) -> None:
    released = threading.Event()

    def hang() -> None:
        for _ in range(64):  # as many threads as an executor has by itself, and more
            running.loop.run_in_executor(None, released.wait)

    with gateway(HoldRegister(tmp_path / REGISTER)) as running:
        try:
            running.loop.call_soon_threadsafe(hang)
            assert send_order(running.url, OPERATORS.signed(stop()))["new"] is True
        finally:
            released.set()


def test_a_stop_outlives_the_gateway(tmp_path: Path) -> None:
    with gateway(HoldRegister(tmp_path / REGISTER)) as running:
        send_order(running.url, OPERATORS.signed(stop()))
    with gateway(HoldRegister(tmp_path / REGISTER)) as running, streaming(running.port) as robot:
        assert robot.says("E-HOLD-001")
        assert robot.acted == []


def test_stock_clients_and_our_own_that_waits_are_told_to_hold_and_the_talk_goes_on(tmp_path: Path) -> None:
    register, order = HoldRegister(tmp_path / REGISTER), stop()
    url = "ws://127.0.0.1"
    with (
        running_gateway(leases=Leases(register, OPERATORS.authority)) as running,
        stock_robot(running) as stock,
        closing(RobotClient(f"{url}:{running.port}", KEY, ROVER, "rover-01", 5.0)) as client,
    ):
        client.start_episode("attempt-1", "go-to")
        view = Seen(
            {one.name: np.zeros((one.height, one.width, 3), np.uint8) for one in ROVER.cameras}, np.zeros(2, np.float32)
        )
        assert "actions" in ask(stock, place())
        assert client.act(view, "go", 0) is not None
        assert client.stopped == ""
        asked = len(running.directory.asked)
        register.apply(order, OPERATORS.signed(order))
        assert eventually(lambda: client.stopped.startswith("E-HOLD-001"))
        assert client.act(view, "go", 1) is None
        assert client.problem.startswith("E-HOLD-001")
        assert ask(stock, place(episode="another", tick=1)).startswith("E-HOLD-001  hold: stopped by ada: smoke")
        assert len(running.directory.asked) == asked, "no episode is given a policy meanwhile"
        register.apply(lift := resume(order), OPERATORS.signed(lift))
        assert "actions" in ask(stock, place(tick=2))
        assert eventually(lambda: client.act(view, "go", 2) is not None)


def test_an_order_that_comes_while_the_policy_thinks_keeps_its_answer_back(tmp_path: Path) -> None:
    register, order = HoldRegister(tmp_path / REGISTER), stop()
    directory, act = Directory(policies={"slow": SLOW}), Controllers(slow_s=0.5)
    leases = Leases(register, OPERATORS.authority)
    with running_gateway(directory, act, timeout_s=5.0, leases=leases) as running, stock_robot(running) as connection:
        connection.send(pack(place(task="slow")))
        assert eventually(lambda: len(act.seen) == 1)
        register.apply(order, OPERATORS.signed(order))
        assert str(connection.recv(timeout=10)).startswith("E-HOLD-001")


def test_a_parted_robot_stops_when_its_lease_ends_whatever_the_moment(tmp_path: Path) -> None:
    random, late = Random(20261126), []
    register = HoldRegister(tmp_path / REGISTER)
    with gateway(register, LONG) as running:
        for trial in range(PARTITIONS):
            with wire(running.port) as between, streaming(between.port, LONG) as robot:
                assert robot.acts
                time.sleep(random.uniform(0, 1.0))
                parted_at = steady_clock()
                between.parted = True
                order = stop(reason=f"trial {trial}")
                register.apply(order, OPERATORS.signed(order))
                assert robot.says("E-", 30.0)
                time.sleep(random.uniform(0, LEASE_S))
                late.append(max(robot.acted) - parted_at)
                if trial % 2:
                    between.parted = False
                    assert robot.says("E-HOLD-001", 30.0)
                    assert robot.rests()
                register.apply(lift := resume(order), OPERATORS.signed(lift))
    assert [seconds for seconds in late if seconds > LEASE_S + 0.5] == []
    assert min(late) > LEASE_S / 2, "it acted on until its lease ended"


def test_a_file_stops_a_robot_whose_gateway_knows_nothing(tmp_path: Path) -> None:
    order, subject = stop({"robot": "rover-01"}), Subject(robot="rover-01", embodiment=ROBOT.tag, site="hall-2")
    file, folder = tmp_path / "stick" / "HOLD", tmp_path / "robot"
    file.parent.mkdir()

    def offline() -> OfflineHold:
        return OfflineHold(file, folder, OPERATORS.authority, subject)

    with gateway(HoldRegister()) as running:
        with streaming(running.port, offline=offline()) as robot:
            assert robot.acts
            file.write_bytes(Operators().signed(stop()))
            assert robot.acts, "a stranger's file changes nothing"
            file.write_bytes(OPERATORS.signed(order))
            assert robot.says("E-HOLD-001")
            assert robot.rests()
            file.unlink()
            assert robot.rests(), "to take the file away is no resume"
        with streaming(running.port, offline=offline()) as robot:
            assert robot.rests(), "nor is a new start"
            assert robot.acted == []
            file.write_bytes(OPERATORS.signed(resume(order)))
            assert robot.acts


ALONE = """
import sys
for absent in ("ray", "mlflow", "boto3", "botocore", "sqlalchemy", "alembic", "torch", "deepspeed"):
    sys.modules[absent] = None
from pathlib import Path
from tests.integration.test_hold import OPERATORS, HoldRegister, gateway, send_order, stop, streaming
with gateway(HoldRegister(Path(sys.argv[1]))) as running, streaming(running.port) as robot:
    assert robot.acts
    send_order(running.url, OPERATORS.signed(stop()))
    assert robot.says("E-HOLD-001")
    assert robot.rests()
print("held")
"""


def test_it_works_where_neither_ray_nor_mlflow_nor_a_store_nor_the_ledger_can_even_be_imported(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALONE, str(tmp_path / REGISTER)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=_environment(), timeout=120
    )
    assert done.stdout == "held\n", done.stderr


def test_the_commands_stop_and_resume(tmp_path: Path) -> None:
    def volano(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", "from volano.cli import main; main()", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=_environment(), timeout=120)

    home = ["--home", str(tmp_path)]
    assert "not a safety-rated emergency stop" in " ".join(volano("stop", "--help").stdout.split()).replace(
        "never a", "not a"
    )
    stopped = volano("stop", "--all", "--by", "ada", "--reason", "smoke", *home)
    assert stopped.returncode == 0, stopped.stderr
    assert "not a safety-rated emergency stop" in stopped.stdout
    listed = json.loads(volano("resume", "--json", *home).stdout)
    [identifier] = [one["id"] for one in listed["stops"]]
    register = HoldRegister(tmp_path / "serving" / REGISTER)
    with (
        running_gateway(leases=Leases(register, read_authority(tmp_path / "keys"))) as running,
        stock_robot(running) as stock,
        connect(f"{running.url}/lease?key={KEY}", proxy=None) as lease,
    ):
        assert ask(stock, place()).startswith("E-HOLD-001  hold: stopped by ada: smoke (every robot")
        lease.send('{"renew": 1}')
        assert "smoke" in json.loads(lease.recv(timeout=10))["held"]
        given = [identifier[:12], "--by", "eve", "--reason", "clear", *home]
        for key, why in ((tmp_path / "keys" / "stop.key", "E-HOLD-003"), (tmp_path / "none", "E-HOLD-003")):
            refused = volano("resume", *given, "--key", str(key))
            assert refused.returncode == 7
            assert why in refused.stderr
        assert ask(stock, place(tick=1)).startswith("E-HOLD-001")
        resumed = volano("resume", *given, "--key", str(tmp_path / "keys" / "resume.key"), "--gateway", running.url)
        assert resumed.returncode == 0, resumed.stderr
        assert f"{running.url}: 0 of 1 connected robots are held" in resumed.stdout
        assert "actions" in ask(stock, place(tick=2))
        gone = volano("stop", "--robot", "rover-01", "--gateway", "ws://127.0.0.1:9", *home)
        assert gone.returncode == 7
        assert "E-HOLD-005" in gone.stderr
        assert eventually(lambda: not isinstance(ask(stock, place(tick=3)), dict)), "what is written here is obeyed"
    order = tmp_path / "HOLD"
    assert volano("stop", "--cohort", "site=hall-2", "--offline", str(order), *home).returncode == 0
    assert order.stat().st_size > 100
    assert volano("stop", *home).returncode == 2


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"}
