"""A proxy that answers as late as a server far away: what comes back from a local port is held for some milliseconds.

Bandwidth is not limited, and requests do not wait for each other. A process of its own, whose work is nobody's time.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.integration.seaweed import free_ports

_CHUNK_BYTES = 1 << 18
_READY_S = 30.0


@contextmanager
def delayed(port: int, milliseconds: int) -> Iterator[int]:
    """The port of a proxy before another port of this machine."""
    own = free_ports(1)[0]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.latency", str(own), str(port), str(milliseconds)])
    try:
        until = time.monotonic() + _READY_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", own), timeout=1):
                break
            if time.monotonic() > until:
                raise SystemExit("the proxy does not answer")
            time.sleep(0.05)
        yield own
    finally:
        process.kill()
        process.wait()


async def _serve(own: int, port: int, delay_s: float) -> None:
    async def talk(asking: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        reading, writing = await asyncio.open_connection("127.0.0.1", port)
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_forward(asking, writing))
            tasks.create_task(_hold(reading, held, delay_s))
            tasks.create_task(_release(held, answer))

    server = await asyncio.start_server(talk, "127.0.0.1", own)
    await server.serve_forever()


async def _forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(_CHUNK_BYTES):
            target.write(data)
            await target.drain()
    target.close()


async def _hold(source: asyncio.StreamReader, held: "asyncio.Queue[tuple[float, bytes]]", delay_s: float) -> None:
    with suppress(ConnectionError):
        while data := await source.read(_CHUNK_BYTES):
            held.put_nowait((time.monotonic() + delay_s, data))
    held.put_nowait((time.monotonic() + delay_s, b""))


async def _release(held: "asyncio.Queue[tuple[float, bytes]]", target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while True:
            due, data = await held.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                break
            target.write(data)
            await target.drain()
    target.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1000))
