"""How soon 200 robots that stream stand still: by an operator's order, and when their gateway freezes.

    python -m benchmarks.hold --json FILE [--quick]

Gateway and robots are processes of one machine; the policy answers at once. Pressed is when the order is sent, or when
the command `volano stop` is started; a robot holds from the first tick that executes its fallback. A frozen gateway
(SIGSTOP) is a partition of all its robots: no connection ends, and nothing comes any more.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from numpy.typing import NDArray

from benchmarks.report import Row, arguments_of, tell
from serving.gateway import serve
from serving.keys import digest_of
from serving.leases import Leases
from serving.limits import Limits
from serving.routes import RobotRecord, Route
from volano.embodiment.contract import Camera, Channel, Embodiment
from volano.inference.hold.control import send_order
from volano.inference.hold.lease import LEASE_S, steady_clock
from volano.inference.hold.orders import RESUME_KEY, STOP_KEY, make_keys, read_authority, read_key, write_order
from volano.inference.hold.register import REGISTER, HoldRegister
from volano.inference.hold.state import Order, Resume, Stop
from volano.inference.streaming import StreamingClient

ROBOTS, PROCESSES = 200, 2
SHORT, LONG = 16, 100
"""Rows of a chunk: of what robots stream, and so many that nothing but the lease stops a robot without a gateway."""
_RATE_HZ = 10.0
_READY_S = 60.0
_SLACK_S = 0.5


def body(horizon: int) -> Embodiment:
    """A small robot, so that the fleet fits beside its gateway."""
    joints = tuple(Channel(name=f"joint.{number}", unit="rad", low=-4, high=4) for number in range(7))
    return Embodiment(
        tag="bench",
        family="manipulation",
        body="single arm",
        cameras=(Camera(name="wrist", height=32, width=32),),
        state=joints,
        action=joints,
        control_mode="joint position",
        rate_hz=_RATE_HZ,
        horizon=horizon,
        execute=horizon // 2,
        hold=(0.0,) * len(joints),
    )


@dataclass(frozen=True)
class _Seen:
    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float32]


@dataclass(kw_only=True)
class _Robot:
    """One robot and when it began and ended to act by its policy."""

    client: StreamingClient
    acting: bool = False
    last: float = 0.0
    """When it executed a policy's action last."""
    ends: list[tuple[float, float]] = field(default_factory=list)
    """First tick of the fallback, and `last` then."""
    begins: list[float] = field(default_factory=list)

    def step(self, seen: _Seen, tick: int) -> None:
        acted = self.client.step(seen, "go on", tick).answer is not None
        now = steady_clock()
        if acted != self.acting:
            self.acting = acted
            if acted:
                self.begins.append(now)
            else:
                self.ends.append((now, self.last))
        self.last = now if acted else self.last


def drive(folder: Path, first: int, horizon: int) -> None:
    """A process of robots; ends with standard input, and tells what they did."""
    robot, port = body(horizon), int((folder / "gateway").read_text())
    seen = _Seen({"wrist": np.zeros((32, 32, 3), np.uint8)}, np.zeros(7, np.float32))
    robots = []
    for number in range(first, first + ROBOTS // PROCESSES):
        client = StreamingClient(
            f"ws://127.0.0.1:{port}", f"key-{number}", robot, f"robot-{number}", oldest_s=horizon / _RATE_HZ
        )
        client.start_episode("attempt", "task")
        robots.append(_Robot(client=client))
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    tick = 0
    begun = time.monotonic()
    while not ended.is_set():
        for place, one in enumerate(robots):
            one.step(seen, tick)
            due = begun + (tick + place / len(robots)) / _RATE_HZ
            if (early := due - time.monotonic()) > 0:
                time.sleep(early)
        tick += 1
        _write(
            folder / f"robots-{first}",
            [{"begins": one.begins, "ends": one.ends, "acting": one.acting} for one in robots],
        )


def _write(path: Path, data: object) -> None:
    path.with_suffix(".new").write_text(json.dumps(data))
    os.replace(path.with_suffix(".new"), path)


class _Directory:
    """Robots of one body."""

    def __init__(self, robot: Embodiment) -> None:
        self._robot = robot
        self._names = {digest_of(f"key-{number}"): f"robot-{number}" for number in range(ROBOTS)}

    def robot(self, key_sha256: str) -> RobotRecord | None:
        name = self._names.get(key_sha256)
        return RobotRecord(id=name, embodiment=self._robot) if name else None

    def route(self, robot_id: str, task: str, episode: str) -> Route:
        del robot_id, task, episode
        return Route(policy="a" * 64, shadow=None, rollout="", arm="")


async def _gateway(folder: Path, horizon: int) -> None:
    chunk = np.full((horizon, 7), 0.5, np.float32)

    async def act(policy: str, observation: Mapping[str, Any], within_s: float) -> NDArray[np.float32]:
        del policy, observation, within_s
        return chunk

    gateway = await serve(
        "127.0.0.1",
        0,
        directory=_Directory(body(horizon)),
        act=act,
        access=lambda _: None,
        shadow=lambda _: None,
        timeout_s=5.0,
        leases=Leases(HoldRegister(folder / "serving" / REGISTER), read_authority(folder / "keys")),
        limits=Limits(sockets_per_address=1000),
    )
    (folder / "gateway.new").write_text(str(gateway.port))
    os.replace(folder / "gateway.new", folder / "gateway")
    await asyncio.Event().wait()


@dataclass(kw_only=True)
class _Fleet:
    """A gateway and its robots, as processes."""

    folder: Path
    gateway: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{(self.folder / 'gateway').read_text()}"

    def give(self, order: Order) -> float:
        """Sign and send an order; when it was pressed."""
        key = read_key(self.folder / "keys" / (STOP_KEY if isinstance(order, Stop) else RESUME_KEY))
        envelope = write_order(order, key)
        pressed = steady_clock()
        send_order(self.url, envelope)
        return pressed

    def told(self) -> list[dict[str, Any]]:
        """What every robot has done so far."""
        files = [self.folder / f"robots-{first}" for first in _firsts()]
        return [robot for path in files if path.exists() for robot in json.loads(path.read_text())]

    def wait(self, acting: bool, within_s: float = _READY_S) -> None:
        """Until all robots act by their policy, or none does."""
        until = time.monotonic() + within_s
        while len(told := self.told()) < ROBOTS or any(one["acting"] != acting for one in told):
            if time.monotonic() > until:
                raise RuntimeError(
                    f"{sum(one['acting'] == acting for one in told)} of {ROBOTS} robots: acting {acting}"
                )
            time.sleep(0.2)

    def since(self, pressed: float) -> list[tuple[float, float]]:
        """For each robot the seconds from `pressed` to its first tick of the fallback, and to its last action."""
        ends = [next(end for end in one["ends"] if end[0] > pressed) for one in self.told()]
        return [(first - pressed, last - pressed) for first, last in ends]


@contextmanager
def fleet(horizon: int) -> Iterator[_Fleet]:
    """200 robots that act; all processes end with the block."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_keys(folder / "keys")
        command = [sys.executable, "-m", "benchmarks.hold"]
        processes = [subprocess.Popen([*command, "gateway", temporary, str(horizon)])]
        try:
            until = time.monotonic() + _READY_S
            while not (folder / "gateway").exists() and time.monotonic() < until:
                time.sleep(0.02)
            for first in _firsts():
                argument = [*command, "robots", temporary, str(horizon), str(first)]
                processes.append(subprocess.Popen(argument, stdin=subprocess.PIPE))
            running = _Fleet(folder=folder, gateway=processes[0])
            running.wait(acting=True)
            yield running
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _firsts() -> range:
    return range(0, ROBOTS, ROBOTS // PROCESSES)


def _stop(scope: Mapping[str, str]) -> Stop:
    return Stop(id=secrets.token_hex(16), at=time.time(), by="benchmark", reason="a measurement", scope=scope)


def _resume(running: _Fleet, stops: Sequence[str]) -> None:
    lift = Resume(id=secrets.token_hex(16), at=time.time(), by="benchmark", reason="over", lifts=tuple(stops))
    running.give(lift)
    running.wait(acting=True)


def press(running: _Fleet, presses: int) -> list[list[float]]:
    """For each press and robot the seconds until it holds."""
    found = []
    for _ in range(presses):
        time.sleep(secrets.randbelow(100) / 100 / _RATE_HZ)
        order = _stop({})
        pressed = running.give(order)
        running.wait(acting=False)
        found.append([first for first, _ in running.since(pressed)])
        _resume(running, [order.id])
    return found


def press_by_command(running: _Fleet, presses: int) -> list[list[float]]:
    """The same from the start of `volano stop`, which tells the gateway and the register beside it."""
    found = []
    program = "from volano.cli import main; main()"
    for _ in range(presses):
        command = [sys.executable, "-c", program, "stop", "--all", "--home", str(running.folder), "--json"]
        pressed = steady_clock()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        running.wait(acting=False)
        found.append([first for first, _ in running.since(pressed)])
        _resume(running, [json.loads(done.stdout)["stop"]])
    return found


def freeze(running: _Fleet, rounds: int) -> list[list[float]]:
    """For each round and robot the seconds from the freezing to its last action of a policy."""
    found = []
    for _ in range(rounds):
        time.sleep(secrets.randbelow(100) / 100)
        parted = steady_clock()
        running.gateway.send_signal(signal.SIGSTOP)
        running.wait(acting=False)
        found.append([last for _, last in running.since(parted)])
        running.gateway.send_signal(signal.SIGCONT)
        running.wait(acting=True)
    return found


def quantile_row(metric: str, rounds: Sequence[Sequence[float]], share: float, *, must: float, aim: float) -> Row:
    """A quantile over robots and rounds, with a 95 % interval from drawing rounds and robots again."""
    table, random = np.asarray(rounds, np.float64), np.random.default_rng(0)
    drawn = [
        np.quantile(
            table[random.integers(len(table), size=len(table))][
                :, random.integers(table.shape[1], size=table.shape[1])
            ],
            share,
        )
        for _ in range(1000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    row: Row = {"metric": metric, "ratio": float(np.quantile(table, share)), "low": float(low), "high": float(high)}
    return row | {"n": table.size, "unit": "s", "better": "lower", "must": must, "aim": aim}


def main() -> None:
    """Run it, or be one of its processes."""
    if len(sys.argv) > 3 and sys.argv[1] == "gateway":
        uvloop.run(_gateway(Path(sys.argv[2]), int(sys.argv[3])))
        return
    if len(sys.argv) > 4 and sys.argv[1] == "robots":
        drive(Path(sys.argv[2]), int(sys.argv[4]), int(sys.argv[3]))
        return
    arguments = arguments_of(__doc__, "three presses, one freezing").parse_args()
    presses, commands, rounds = (3, 1, 1) if arguments.quick else (20, 5, 3)
    with fleet(SHORT) as running:
        pressed, by_command = press(running, presses), press_by_command(running, commands)
    with fleet(LONG) as running:
        frozen = freeze(running, rounds)
    late = sum(seconds > LEASE_S + _SLACK_S for one in frozen for seconds in one)
    name = f"{ROBOTS} robots that stream"
    rows = [
        quantile_row(f"{name}: order sent to fallback, p99", pressed, 0.99, must=1.0, aim=0.3),
        quantile_row(f"{name}: order sent to fallback, median", pressed, 0.5, must=1.0, aim=0.15),
        quantile_row(f"{name}: start of `volano stop` to fallback, p99", by_command, 0.99, must=3.0, aim=1.0),
        quantile_row(
            f"{name}: frozen gateway to last action, longest", frozen, 1.0, must=LEASE_S + _SLACK_S, aim=LEASE_S
        ),
        quantile_row(
            f"{name}: frozen gateway to last action, median", frozen, 0.5, must=LEASE_S + _SLACK_S, aim=LEASE_S
        ),
    ]
    tell("hold", arguments.json, quick=arguments.quick, rows=rows, packages=["websockets"], actions_after_lease=late)
    print(f"robots that acted later than lease + {_SLACK_S} s: {late} of {sum(map(len, frozen))}")


if __name__ == "__main__":
    main()
