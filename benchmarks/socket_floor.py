"""The least that an observation and its chunk cost: their bytes over a loopback socket between two processes."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from benchmarks.served import CHUNK


@contextmanager
def socket_floor(sent: int) -> Iterator[Callable[[int], NDArray[np.float64]]]:
    """A function that makes so many round trips and returns their milliseconds."""
    command = [sys.executable, "-m", "benchmarks.socket_floor", str(sent), str(CHUNK.nbytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            question, answer = b"o" * sent, bytearray(CHUNK.nbytes)

            def trips(count: int) -> NDArray[np.float64]:
                found = []
                for _ in range(count):
                    began = time.perf_counter()
                    connection.sendall(question)
                    _fill(connection, answer)
                    found.append((time.perf_counter() - began) * 1e3)
                return np.array(found)

            yield trips
        process.kill()


def _fill(connection: socket.socket, buffer: bytearray) -> bool:
    """Read until the buffer is full; False when the other side is gone."""
    view = memoryview(buffer)
    while view:
        count = connection.recv_into(view)
        if count == 0:
            return False
        view = view[count:]
    return True


def main() -> None:
    """The other side: bytes of a question, bytes of an answer."""
    question, answer = bytearray(int(sys.argv[1])), b"a" * int(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while _fill(connection, question):
            connection.sendall(answer)


if __name__ == "__main__":
    main()
