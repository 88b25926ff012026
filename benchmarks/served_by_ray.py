"""openpi's wire through Ray Serve's own WebSockets: FastAPI ingress, one replica, a cluster of its own, no settings but
the one that is asked for."""

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.integration.seaweed import free_ports

_READY_S = 120.0
_END_S = 30.0


@contextmanager
def served_by_ray(haproxy: bool) -> Iterator[int]:
    """The port of Serve's HTTP door; the cluster ends with the block."""
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled"}
        environment.pop("RAY_ADDRESS", None)
        if haproxy:
            environment["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
        ready = Path(folder) / "ready"
        command = [sys.executable, "-m", "benchmarks.served_by_ray", str(port), str(ready)]
        process = subprocess.Popen(command, env=environment)
        try:
            until = time.monotonic() + _READY_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("Ray Serve does not start")
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            process.kill()
            process.wait()


def _application() -> Any:
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect
    from ray import serve

    from benchmarks.served import CHUNK
    from volano.inference.protocols.arrays import pack, unpack

    api = FastAPI()

    class Robots:
        @api.websocket("/robot")
        async def converse(self, socket: WebSocket) -> None:
            await socket.accept()
            await socket.send_bytes(pack({}))
            with suppress(WebSocketDisconnect):
                while True:
                    unpack(await socket.receive_bytes())
                    await socket.send_bytes(pack({"actions": CHUNK}))

    options: dict[str, Any] = {"max_ongoing_requests": 100, "ray_actor_options": {"num_cpus": 0.1}}
    return serve.deployment(**options)(serve.ingress(api)(Robots)).bind()


async def _until_told() -> None:
    import signal

    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()


def main() -> None:
    """The cluster's driver: the port, and the file that says that it is ready."""
    import ray
    from ray import serve

    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(_application(), route_prefix="/", logging_config={"enable_access_log": False})
    Path(sys.argv[2]).touch()
    asyncio.run(_until_told())
    ray.shutdown()


if __name__ == "__main__":
    main()
