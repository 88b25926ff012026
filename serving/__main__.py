"""The gateway as a process: robots in front, Ray Serve behind, the ledger saying who runs what.

    python -m serving --home DIR [--port N] [--host H] [--listen NAME=PORT ...] [--watch HOST:PORT] [--store URL]
                      [--ledger URL] [--keys DIR] [--root FILE] [--precision bf16] [--compile]
                      [--tls-certificate FILE --tls-key FILE [--client-ca FILE]] [--drain SECONDS]

It serves the policies in place and those of the active rollout, and follows the ledger while it runs. Kill it at any
time: started again, it finds its policies' replicas on the cluster and goes on with every episode's own policy. Told
to stop (SIGTERM), it lets episodes end for as long as `--drain` says, and answers in flight go out; replicas on a
cluster that it did not start stay, for other gateways there.
"""

import asyncio
import json
import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from typing import Any

import uvloop
from ray import serve as ray_serve

from serving.access_log import AccessFile
from serving.applications import Applications
from serving.dialects import DIALECTS
from serving.directory import LedgerDirectory, named_policies, withdrawn_policies
from serving.ending import Ending
from serving.gateway import Gateway, serve
from serving.journal import JsonLines
from serving.leases import Leases
from serving.listeners import LISTENERS
from serving.loads import Loads
from serving.metrics import Metrics
from serving.permits import Permits
from serving.pool import Pool
from serving.ports import bracketed
from serving.readiness import Readiness
from serving.settings import Settings, read_settings
from serving.tls import Tls
from serving.watch import Watch
from volano.cluster import ADDRESS, connect
from volano.embodiment.shipped import SHIPPED
from volano.errors import RolloutError, VolanoError
from volano.inference.hold.orders import make_keys, read_authority
from volano.inference.hold.register import REGISTER, HoldRegister
from volano.inference.running import GatewayFolder, GatewayStatus
from volano.ledger.ledger import Ledger, open_ledger
from volano.registry.keys import Keys
from volano.storage.open import open_store

_LOG = logging.getLogger("serving")
_LOOK_S = 1.0
"""From one look at ledger and cluster to the next."""
_LEAVE_S = 4.0
"""What a look under way gets to end in when the process is told to stop."""


async def run(
    settings: Settings,
    folder: GatewayFolder,
    applications: Applications,
    pool: Pool,
    ledger: Ledger,
    permits: Permits,
    metrics: Metrics,
    tls: Tls | None,
) -> None:
    """Serve until SIGTERM or SIGINT."""
    ending, readiness = Ending(settings.drain_s, applications.close), Readiness(applications.problem)
    pool.attach(asyncio.get_running_loop())

    def end() -> None:
        readiness.stop()
        ending.tell()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    directory = LedgerDirectory(ledger, SHIPPED.values(), applications.problem, permits.robot)
    register = HoldRegister(folder.path / REGISTER)
    make_keys(settings.home / "keys")
    async with AsyncExitStack() as opened:
        opened.callback(pool.close)
        watch = _watched(settings, metrics, readiness)
        opened.push_async_callback(watch.stop)
        access = opened.enter_context(AccessFile(folder.access, settings.access_bytes, metrics.dropped))
        shadow = opened.enter_context(JsonLines(folder.shadow))
        gateway = await serve(
            settings.host,
            settings.port,
            directory=directory,
            act=pool,
            access=access,
            shadow=shadow,
            timeout_s=settings.timeout_s,
            standing=lambda robot: directory.standing(robot, applications.status),
            more={name: port for name, port in settings.listen if name in DIALECTS},
            leases=Leases(register, read_authority(settings.home / "keys")),
            slots=pool.slots,
            tls=tls,
            limits=settings.limits,
            metrics=metrics,
        )
        gateway.unready = readiness.why_not
        opened.push_async_callback(gateway.stop)
        _LOG.info("listening on %s:%s", settings.host, gateway.port)
        await _open_more(settings, gateway, opened)
        if tls is not None:
            opened.callback(asyncio.ensure_future(tls.follow()).cancel)

        told = 0

        def heed() -> None:
            """Heed what the ledger rolled back, and tell it operators' orders, whatever hangs but the ledger."""
            nonlocal told
            _withdraw(gateway, ledger)
            told = tell_orders(ledger, register, told)

        def look() -> None:
            """Bring what runs to what the ledger names, and tell how it stands."""
            now = time.time()
            _permit(permits, ledger)
            policies = applications.look(lambda: readiness.want(named_policies(ledger, now - settings.grace_s)))
            folder.tell(
                GatewayStatus(
                    pid=os.getpid(),
                    url=f"{'ws' if tls is None else 'wss'}://{bracketed(settings.host)}:{gateway.port}",
                    watch=f"http://{bracketed(settings.watch[0])}:{watch.port}",
                    looked_at=now,
                    policies=policies,
                    parity=_parity(applications),
                    drain_s=settings.drain_s,
                )
            )
            metrics.stands(replicas=pool.states(), looked_at=now, expires_at=0.0 if tls is None else tls.until)

        await asyncio.gather(follow(heed, ending.stop), follow(look, ending.stop), ending.follow(gateway.drain))
    _LOG.info("stopped")


def tell_orders(ledger: Ledger, register: HoldRegister, told: int) -> int:
    """Put into the ledger's audit what stands in the register of orders behind the first `told`, each once; returns how
    many are told now."""
    rows = register.rows
    for row in rows[told:]:
        ledger.record_once(row.kind, row.actor, json.loads(row.payload), row.at)
    return len(rows)


def _watched(settings: Settings, metrics: Metrics, readiness: Readiness) -> Watch:
    """The port of those who watch."""
    watch = Watch(metrics, readiness.why_not)
    watch.listen(*settings.watch)
    _LOG.info("watched on %s:%s", settings.watch[0], watch.port)
    return watch


def _parity(applications: Applications) -> dict[str, list[dict[str, Any]]]:
    return {policy: [asdict(one) for one in found] for policy, found in applications.parity.items()}


def _withdraw(gateway: Gateway, ledger: Ledger) -> None:
    try:
        gateway.entrance.exchanger.withdrawn = withdrawn_policies(ledger)
    except RolloutError as error:  # one rollout that nobody can read any more; what was known stays withdrawn
        _LOG.error("what was rolled back cannot be read: %s", error)


def _permit(permits: Permits, ledger: Ledger) -> None:
    try:
        permits.look()
    except VolanoError as error:  # what was known counts until it expires
        _LOG.warning("what is released cannot be read: %s", error)
    try:
        permits.checkpoint(ledger)
    except VolanoError as error:  # robots are served meanwhile
        _LOG.error("the audit log is not signed: %s", error)


async def _open_more(settings: Settings, gateway: Gateway, opened: AsyncExitStack) -> None:
    """The ports beside the gateway's own."""
    for dialect, port in gateway.ports.items():
        _LOG.info("listening for %s on %s:%s", dialect, settings.host, port)
    for name, port in settings.listen:
        if name in LISTENERS:
            listener = await LISTENERS[name](settings.host, port, gateway.entrance)
            opened.push_async_callback(listener.stop)
            _LOG.info("listening for %s on %s:%s", name, settings.host, listener.port)


async def follow(look: Callable[[], None], stop: asyncio.Event) -> None:
    """Look again and again until told to stop; a look that hangs then is left behind after a few seconds."""
    stopping = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        looking = asyncio.ensure_future(_in_thread(look))
        await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait({looking}, timeout=_LEAVE_S)
        if not done:
            _LOG.warning("a look at the ledger or the cluster is left behind: it does not end")
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


def _widen(sockets: int) -> None:
    """Ask for as many open files as robots may make the process hold, where the machine allows them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * sockets if hard == resource.RLIM_INFINITY else min(2 * sockets, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def main() -> None:
    """Run the process; exits with the error's code when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    try:
        settings = read_settings()
        folder = GatewayFolder(settings.home)
        folder.occupy()
        tls, metrics = None if settings.tls is None else Tls(settings.tls), Metrics()
        _widen(settings.limits.sockets)
        store = open_store(settings.store)
        permits = Permits(store, Keys(folder=settings.keys), settings.anchor, folder.path)
        with open_ledger(settings.ledger) as ledger:
            connect()
            pool = Pool(metrics.batched)
            applications = Applications(
                settings.store,
                permits.replicas,
                pool=pool,
                loads=Loads(folder.loads),
                engine=settings.engine,
                num_replicas=settings.replicas,
                num_cpus=settings.cpus,
            )
            uvloop.run(run(settings, folder, applications, pool, ledger, permits, metrics, tls))
        if ADDRESS not in os.environ:  # a cluster that others use as well keeps what it serves to their robots
            ray_serve.shutdown()
    except VolanoError as error:
        _LOG.critical("%s", error)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
