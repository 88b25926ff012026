"""What image files and named images save over 20 Mbit/s: a robot of three cameras of 224 x 224, a policy that answers
at once, our own client and gateway.

    python -m benchmarks.narrow_link --json FILE [--quick]

Between them stands a relay of this process that lets 20 Mbit/s pass each way, 5 ms late. The scenes are drawn: texture
of every size as nature has it, an edge that moves, and the noise of a sensor. In `all new` every camera has a new image
at each question; in `wrist new` the two outside cameras, slower than the robot asks, have the one that they had before.
"""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row, arguments_of, compared, in_words, write_report
from benchmarks.served import CHANNELS, ROBOT, served
from serving.keys import digest_of
from volano.inference.client import RobotClient
from volano.inference.protocols.dialect import Coding

BITS_PER_S, LATE_S = 20e6, 0.005
_PIECE, _BURST_S = 8192, 0.003
"""What waits for the relay's process is made up for."""
_HZ = 2.0
"""How often this robot asks: it executes 25 rows at 50 Hz."""
_WAYS: dict[str, tuple[Coding, bool]] = {
    "arrays": ("raw", False),
    "arrays, named": ("raw", True),
    "PNG": ("png", False),
    "JPEG": ("jpeg", False),
    "JPEG, named": ("jpeg", True),
}
_SCENES = ("all new", "wrist new")
STATE = np.zeros(CHANNELS, np.float32)


@dataclass(kw_only=True)
class Relay:
    """A link of so many bits a second each way."""

    target: int
    port: int = 0
    sent: int = 0
    """Bytes from the robot."""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    async def listen(self) -> None:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._carry(reader, back, counted=True), self._carry(there, writer, counted=False))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        free = 0.0
        while data := await reader.read(_PIECE):
            free = max(free, time.monotonic() - _BURST_S) + len(data) * 8 / BITS_PER_S
            self.sent += len(data) if counted else 0
            await asyncio.sleep(max(0.0, free - time.monotonic()))
            self.loop.call_later(LATE_S, writer.write, data)
        self.loop.call_later(LATE_S, writer.close)


@contextmanager
def narrow(target: int) -> Iterator[Relay]:
    """A relay before a port, until the block ends."""
    relay = Relay(target=target)
    thread = threading.Thread(target=relay.loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(relay.listen(), relay.loop).result(5)
    try:
        yield relay
    finally:
        asyncio.run_coroutine_threadsafe(relay.end(), relay.loop).result(5)
        relay.loop.call_soon_threadsafe(relay.loop.stop)
        thread.join(5)


@dataclass(frozen=True)
class Seen:
    """What the robot perceives."""

    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]


def view(number: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """A drawn image: texture that moves by a pixel, a dark edge that moves, and noise of 2 of 255."""
    shade = _TEXTURE[number % 200 : number % 200 + 224, :224].copy()
    shade[60 + number % 80 : 90 + number % 80, 40:150] *= 0.4
    return np.clip(shade + random.normal(0, 2, (224, 224, 1)), 0, 255).astype(np.uint8)


def _texture() -> NDArray[np.float64]:
    """Noise whose amplitude falls with its frequency, as that of photographs does, (448, 448, 3), mean 120."""
    random = np.random.default_rng(1)
    pitch = np.hypot(np.fft.fftfreq(448)[:, None], np.fft.fftfreq(448)[None]) * 448
    waves = np.fft.fft2(random.normal(size=(3, 448, 448))) / np.maximum(pitch, 1)
    plain = np.fft.ifft2(waves).real
    common = plain.mean(axis=0)
    return np.asarray(120 + 45 * ((0.8 * common + 0.2 * plain) / common.std()).transpose(1, 2, 0))


_TEXTURE = _texture()


def measure(rounds: int, each: int) -> dict[tuple[str, str], dict[str, list[float]]]:
    """For each scene and way: seconds of a call's median, and bytes of a call, round by round."""
    random = np.random.default_rng(0)
    found = {(scene, way): {"s": list[float](), "bytes": list[float]()} for scene in _SCENES for way in _WAYS}
    with ExitStack() as stack:
        relay = stack.enter_context(narrow(stack.enter_context(served("ours", 0.0))))
        clients = {}
        for way, (coding, named) in _WAYS.items():
            url, name = f"ws://127.0.0.1:{relay.port}", f"robot-{digest_of(way)[:12]}"
            made = RobotClient(url, way, ROBOT, name, 30.0, images=coding, name_unchanged=named)
            clients[way] = stack.enter_context(closing(made))
            made.start_episode("attempt-1", "pick")
        outside = [view(number, random) for number in (0, 50)]
        number = 0
        for _ in range(rounds):
            for scene in _SCENES:
                for way, client in clients.items():
                    times, sizes = [], []
                    for _ in range(each + 1):
                        number += 1
                        fixed = outside if scene == "wrist new" else [view(number + 99, random), view(number, random)]
                        images = (*fixed, view(number + 50, random))
                        before, began = relay.sent, time.perf_counter()
                        call(client, images, number)
                        times.append(time.perf_counter() - began)
                        sizes.append(relay.sent - before)
                    found[scene, way]["s"].append(float(np.median(times[1:])))  # the first is new to the gateway
                    found[scene, way]["bytes"].append(float(np.median(sizes[1:])))
    return found


def call(client: RobotClient, images: Sequence[NDArray[np.uint8]], tick: int) -> None:
    """One question, which has to be answered."""
    seen = Seen(dict(zip(("left", "right", "wrist"), images, strict=True)), STATE)
    if client.act(seen, "put the red block on the plate", tick) is None:
        raise RuntimeError(client.problem)


def rows_of(found: dict[tuple[str, str], dict[str, list[float]]]) -> list[Row]:
    """Each way against arrays that are sent whole, in the same scene."""
    rows = []
    for (scene, way), values in found.items():
        if way == "arrays":
            continue
        plain = found[scene, "arrays"]
        for what, unit, scale in (("s", "ms", 1e3), ("bytes", "kB/s", _HZ / 1e3)):
            ours, other = (np.array(one[what]) * scale for one in (values, plain))
            rows.append(compared(f"{scene}: {way}, {unit}", ours, other, "arrays", unit=unit, better="lower"))
    return rows


def main() -> None:
    """The command line."""
    options = arguments_of(__doc__, "half a minute").parse_args()
    found = measure(*((5, 2) if options.quick else (20, 3)))
    rows = rows_of(found)
    write_report("narrow_link", options.json, quick=options.quick, rows=rows, packages=("av", "websockets"))
    for row in rows:
        print(f"{in_words(row)}; {row['ours']:.4g} over {row['reference']:.4g} {row['unit']}")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
