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
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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
_LEAVE_S = 4.0
"""What a look under way gets to end in when the process is told to stop."""


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

    def end() -> None:
        applications.close()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
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

        def look() -> None:
            """Bring what runs to what the ledger names, and tell how it stands."""
            now = time.time()
            policies = applications.look(named_policies(ledger, now - settings.grace_s))
            url = f"ws://{settings.host}:{gateway.port}"
            folder.tell(GatewayStatus(pid=getpid(), url=url, looked_at=now, policies=policies))

        try:
            await follow(look, stop)
        finally:
            await gateway.stop()
    _LOG.info("stopped")


async def follow(look: Callable[[], None], stop: asyncio.Event) -> None:
    """Look again and again until told to stop; a look that hangs then is left behind after a few seconds."""
    stopping = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        looking = asyncio.ensure_future(_in_thread(look))
        await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait({looking}, timeout=_LEAVE_S)
        if not done:
            _LOG.warning("a look at the cluster is left behind: it does not end")
            looking.cancel()
        elif (error := looking.exception()) is not None:  # robots are served meanwhile and the next look may succeed
            _LOG.error("looking at the ledger and the cluster failed", exc_info=error)
        await asyncio.wait({stopping}, timeout=_LOOK_S)


async def _in_thread(work: Callable[[], None]) -> None:
    """Work in a thread that neither the loop nor the process waits for when it ends, unlike `asyncio.to_thread`."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def thread() -> None:
        failure: Exception | None = None
        try:
            work()
        except Exception as error:  # whatever it is: `follow` tells it
            failure = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, failure)

    threading.Thread(target=thread, name="look", daemon=True).start()
    await done


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
