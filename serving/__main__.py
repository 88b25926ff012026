"""The gateway as a process: robots in front, Ray Serve behind, the ledger saying who runs what.

    python -m serving --home DIR [--port N] [--host H] [--store URL] [--ledger URL] [--key FILE ...]

It serves the policies in place and those of the active rollout, and follows the ledger while it runs. Kill it at any
time: started again, it finds its policies' replicas on the cluster and goes on with every episode's own policy. Told
to stop (SIGTERM), it lets answers in flight go out and takes its replicas down.
"""

import argparse
import asyncio
import logging
import signal
import time
from dataclasses import dataclass
from os import getpid
from pathlib import Path

from ray import serve as ray_serve

from serving.act import Applications, RayAct
from serving.directory import LedgerDirectory, named_policies
from serving.gateway import serve
from serving.journal import JsonLines
from volano.cluster import connect
from volano.embodiment.shipped import SHIPPED
from volano.errors import VolanoError
from volano.inference.running import GatewayFolder, GatewayStatus
from volano.ledger.ledger import Ledger, open_ledger
from volano.registry.signing import PUBLIC_KEY, load_public_key
from volano.storage.open import open_store

_LOG = logging.getLogger("serving")
_LOOK_S = 1.0
"""From one look at ledger and cluster to the next."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a gateway process is told."""

    home: Path
    host: str
    port: int
    store: str
    ledger: str
    keys: tuple[Path, ...]
    """Files of the public keys whose signatures count."""
    timeout_s: float
    """Longest that a policy may think about one answer."""
    grace_s: float
    """A policy that is no longer named is kept for episodes that began at most so long ago."""
    replicas: int
    """Per policy."""
    cpus: float
    """What one replica reserves of the cluster."""


def read_settings(arguments: list[str] | None = None) -> Settings:
    """The command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m serving", description="Serve policies to robots."
    )
    parser.add_argument("--home", type=Path, required=True, help="folder with store/, ledger.db and keys/")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8700, help="0 takes a free one")
    parser.add_argument("--store", default="", help="URL of the object store; default: HOME/store")
    parser.add_argument("--ledger", default="", help="URL of the ledger; default: HOME/ledger.db")
    parser.add_argument("--key", type=Path, action="append", default=[], help="trusted key; default: HOME/keys")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds that a policy may think")
    parser.add_argument("--grace", type=float, default=300.0, help="seconds that an episode may go on after a change")
    parser.add_argument("--replicas", type=int, default=1, help="replicas per policy")
    parser.add_argument("--cpus", type=float, default=0.2, help="cores reserved per replica")
    given = parser.parse_args(arguments)
    home = given.home.resolve()
    return Settings(
        home=home,
        host=given.host,
        port=given.port,
        store=open_store(given.store or str(home / "store")).url,
        ledger=given.ledger or f"sqlite:///{home / 'ledger.db'}",
        keys=tuple(given.key) or (home / "keys" / PUBLIC_KEY,),
        timeout_s=given.timeout,
        grace_s=given.grace,
        replicas=given.replicas,
        cpus=given.cpus,
    )


async def run(settings: Settings, folder: GatewayFolder, applications: Applications, ledger: Ledger) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with JsonLines(folder.access) as access, JsonLines(folder.shadow) as shadow:
        gateway = await serve(
            settings.host,
            settings.port,
            directory=LedgerDirectory(ledger, SHIPPED.values(), applications.problem),
            act=RayAct(applications),
            access=access,
            shadow=shadow,
            timeout_s=settings.timeout_s,
        )
        _LOG.info("listening on %s:%s", settings.host, gateway.port)
        try:
            await follow(settings, folder, applications, ledger, f"ws://{settings.host}:{gateway.port}", stop)
        finally:
            await gateway.stop()
    _LOG.info("stopped")


async def follow(
    settings: Settings,
    folder: GatewayFolder,
    applications: Applications,
    ledger: Ledger,
    url: str,
    stop: asyncio.Event,
) -> None:
    """Bring what runs to what the ledger names, again and again, and tell how it stands."""
    while not stop.is_set():
        try:
            now = time.time()
            wanted = await asyncio.to_thread(named_policies, ledger, now - settings.grace_s)
            policies = await asyncio.to_thread(applications.look, wanted)
            status = GatewayStatus(pid=getpid(), url=url, looked_at=now, policies=policies)
            await asyncio.to_thread(folder.tell, status)
        except Exception:  # whatever it is, robots are served meanwhile and the next look may succeed
            _LOG.exception("looking at the ledger and the cluster failed")
        try:
            await asyncio.wait_for(stop.wait(), _LOOK_S)
        except TimeoutError:
            continue


def main() -> None:
    """Run the process; exits with the error's code when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    try:
        settings = read_settings()
        folder = GatewayFolder(settings.home)
        folder.occupy()
        trusted = [load_public_key(path) for path in settings.keys]
        with open_ledger(settings.ledger) as ledger:
            connect()
            applications = Applications(settings.store, trusted, num_replicas=settings.replicas, num_cpus=settings.cpus)
            asyncio.run(run(settings, folder, applications, ledger))
        ray_serve.shutdown()
    except VolanoError as error:
        _LOG.critical("%s", error)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
