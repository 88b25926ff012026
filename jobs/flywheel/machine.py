"""The machine under a flywheel: its own Ray cluster, and how much memory everything together took."""

import hashlib
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from jobs.flywheel.children import Children
from volano.cluster import ADDRESS, ROOT
from volano.errors import Code, SystemMissingError
from volano.storage.files import write_once

_CPUS = 3
"""What Ray may give away: a core for each of two workers of a job, and one that policies being served share."""
_START_S = 60.0
_EVERY_S = 2.0


def cluster_environment(root: Path) -> dict[str, str]:
    """What every process of this flywheel needs in its environment, the cluster's address among it."""
    port = free_port()
    return {
        ADDRESS: f"127.0.0.1:{port}",
        "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_token(root)),
        "RAY_TMPDIR": str(_short_folder(root)),
    }


def start_cluster(children: Children, address: str, root: Path) -> int:
    """Start a Ray head on the loopback interface; returns its dashboard's port. Raises
    SystemMissingError(E-CLUSTER-001) when it does not come up."""
    dashboard = free_port()
    folder = _short_folder(root)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)  # sessions and logs of a cluster that runs any code are nobody else's to read
    ports = {
        "port": int(address.rpartition(":")[2]),
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
    }
    options = [f"--{name}={port}" for name, port in ports.items()]
    ray = str(Path(sys.executable).with_name("ray"))
    fixed = ["--head", "--block", "--node-ip-address=127.0.0.1", f"--num-cpus={_CPUS}", "--disable-usage-stats"]
    children.start("ray", [ray, "start", *fixed, f"--temp-dir={folder}", *options])
    until = time.monotonic() + _START_S
    while not (_listens(ports["port"]) and _listens(dashboard)):
        if not children.alive("ray") or time.monotonic() > until:
            raise SystemMissingError(Code.CLUSTER_UNREACHABLE, "Ray did not start", f"see {children.log('ray')}")
        time.sleep(0.2)
    return dashboard


@contextmanager
def memory_watch() -> Iterator[list[int]]:
    """A list whose one entry is the most memory, in bytes, that the machine used above what it used at the start."""
    start, peak, done = psutil.virtual_memory().used, [0], threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY_S):
            peak[0] = max(peak[0], psutil.virtual_memory().used - start)

    thread = threading.Thread(target=watch, name="memory-watch", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _token(root: Path) -> Path:
    """The file with the secret that this cluster asks for: whoever may send work to a Ray cluster may run any code."""
    path = root / "ray.token"
    if not path.exists():
        write_once(path, secrets.token_hex(32).encode(), 0o600)
    return path


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _short_folder(root: Path) -> Path:
    """Ray's sockets need a path below a hundred characters, whatever the home's path is."""
    return Path("/tmp") / f"volano-ray-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}"
