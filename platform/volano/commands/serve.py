"""`volano serve`: the gateway that robots connect to, as a background process of this machine."""

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import typer

from volano.commands.application import PASSED_ON, ROOT, environment, require_application, run_application
from volano.commands.terminal import Authority, Certificate, CertificateKey, Json, print_json, print_table, robot_key
from volano.errors import Code, ServeError

if TYPE_CHECKING:
    from volano.inference.bench import Measured, Quantile
    from volano.inference.running import GatewayFolder, GatewayStatus

Precision = Literal["fp32", "bf16"]
app = typer.Typer(no_args_is_help=True, help="The gateway that robots connect to.")
Home = Annotated[Path, typer.Option("--home", envvar="VOLANO_HOME", help="Folder with store/, ledger.db and keys/.")]
_START_S, _STOP_S = 60.0, 60.0


@app.callback()
def serve() -> None:
    """The gateway that robots connect to."""


@app.command()
def up(
    home: Home = Path(".volano"),
    port: Annotated[int, typer.Option("--port", help="Port that robots connect to; 0 takes a free one.")] = 8700,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="NAME=PORT", help="One more port, by what is spoken there."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address that robots reach.")] = "127.0.0.1",
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", help="PEM file; every port for robots then speaks TLS 1.3.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="PEM file of its key.")] = None,
    client_ca: Annotated[
        Path | None, typer.Option("--client-ca", help="PEM file: who connects needs a certificate that it signed.")
    ] = None,
    watch: Annotated[
        str, typer.Option("--watch", metavar="HOST:PORT", help="Where /metrics, /healthz and /readyz are.")
    ] = "127.0.0.1:0",
    precision: Annotated[Precision, typer.Option("--precision", help="Of matrix products: fp32 or bf16.")] = "fp32",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Answer by compiled code; loading takes minutes.")
    ] = False,
    drain: Annotated[
        int, typer.Option("--drain", min=0, max=86400, help="Seconds that episodes may go on when it is stopped.")
    ] = 0,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait until every policy is ready.")] = 180.0,
    as_json: Json = False,
) -> None:
    """Start the gateway unless it runs, and wait until every policy that the ledger names is ready."""
    from volano.inference.running import GatewayFolder
    from volano.registry.trust import ANCHOR, read_anchor

    folder = GatewayFolder(home.resolve())
    if not folder.occupied():
        if not home.is_dir():  # the gateway would make it, and tell its log
            read_anchor(home / "keys" / ANCHOR)
        files = {"--tls-certificate": tls_certificate, "--tls-key": tls_key, "--client-ca": client_ca}
        given = [f"--host={host}", f"--port={port}", f"--watch={watch}", *(f"--listen={one}" for one in listen or [])]
        given += [f"{option}={path.resolve()}" for option, path in files.items() if path is not None]
        given += [
            f"--precision={precision}",
            *([f"--drain={drain}"] if drain else []),
            *(["--compile"] if compiled else []),
        ]
        _start(folder, home.resolve(), given)
    status = _wait(folder, wait)
    if as_json:
        print_json(_plain(status))
    else:
        _show(status)
    for policy, problem in status.refused.items():
        raise ServeError(
            Code.SERVE_UNAVAILABLE, f"policy {policy[:12]} is refused: {problem}", f"name another; see {folder.log}"
        )
    if not as_json:
        print(f"log: {folder.log}")
        print("next: volano serve status")


@app.command()
def down(home: Home = Path(".volano")) -> None:
    """Stop the gateway: episodes end for as long as `up --drain` said, answers in flight go out, then its replicas end.
    Stopping what does not run changes nothing."""
    from volano.inference.running import GatewayFolder

    folder = GatewayFolder(home.resolve())
    status = folder.status()
    if status is None:
        if folder.occupied():
            raise ServeError(Code.SERVE_UNAVAILABLE, "the gateway is still starting", "stop it again in a moment")
        print(f"no gateway runs for {home}")
        return
    with suppress(ProcessLookupError):
        os.kill(status.pid, signal.SIGTERM)
    if status.drain_s:
        print(f"episodes may go on for {status.drain_s:g} s; at once: kill {status.pid}")
    until = time.monotonic() + status.drain_s + _STOP_S
    while folder.occupied():
        if time.monotonic() > until:
            raise ServeError(
                Code.SERVE_UNAVAILABLE, f"process {status.pid} does not stop", f"see {folder.log}, then kill it"
            )
        time.sleep(0.1)
    print(f"stopped: {status.url}")
    print("next: volano serve up")


@app.command("status")
def show_status(home: Home = Path(".volano"), as_json: Json = False) -> None:
    """Say where the gateway listens and which policies are ready."""
    from volano.inference.running import GatewayFolder

    status = GatewayFolder(home.resolve()).status()
    if status is None or not is_healthy(status):
        raise ServeError(Code.SERVE_UNAVAILABLE, f"no gateway answers for {home}", "start it: volano serve up")
    if as_json:
        print_json(_plain(status))
    else:
        _show(status)


@app.command()
def bench(
    robot: Annotated[str, typer.Argument(help="A robot that was enrolled for this; revoke it afterwards.")],
    tag: Annotated[str, typer.Argument(help="Its embodiment.")],
    url: Annotated[str, typer.Argument(help="The gateway, ws://HOST:PORT or wss://HOST:PORT.")],
    key: Annotated[Path, typer.Option("--key", help="File with its key.")],
    answers: Annotated[int, typer.Option("--answers", min=1, help="How many answers to count.")] = 200,
    pace: Annotated[
        float | None, typer.Option("--pace", help="Seconds from one question to the next; default: the robot's tick.")
    ] = None,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    as_json: Json = False,
) -> None:
    """Say how fast a running gateway is for a robot: p50 and p99 of an answer and of each of its phases, and what
    limits. A synthetic robot asks, one question at a time."""
    import random

    from volano.certificates import client_context
    from volano.embodiment.shipped import shipped
    from volano.inference.bench import asker, measure, verdict
    from volano.inference.link import Link

    embodiment, files = shipped(tag), (ca, certificate, certificate_key)
    tls = client_context(*files) if any(files) else None
    secret = robot_key(key)
    asking = asker(embodiment, robot)
    link = Link(url, secret, asking, clock=time.monotonic, random=random.random, tls=tls)
    try:
        pause = 1 / embodiment.rate_hz if pace is None else pace
        found = measure(
            link,
            asking,
            embodiment,
            answers=answers,
            pace_s=pause,
            timeout_s=10.0,
            clock=time.monotonic,
            sleep=time.sleep,
        )
    finally:
        link.close()
    if not found.phases["answer"]:
        raise ServeError(Code.SERVE_UNAVAILABLE, f"no answers: {dict(found.problems)}", "see the gateway's log")
    said = verdict(embodiment, found)
    _tell(found, said, as_json=as_json)


def _tell(found: "Measured", said: list[str], *, as_json: bool) -> None:
    from volano.inference.bench import quantile

    count = len(found.phases["answer"])
    shares = {"p50": 0.5, "p99": 0.99}
    rows = {
        phase: {name: quantile(seconds, share) for name, share in shares.items()}
        for phase, seconds in found.phases.items()
    }
    if as_json:
        plain = {phase: {name: _plain_quantile(one) for name, one in row.items()} for phase, row in rows.items()}
        print_json({"n": count, "seconds": plain, "problems": dict(found.problems), "verdict": said})
        return
    print(f"n = {count} answers; milliseconds with 95 % intervals")
    for phase, row in rows.items():
        print(f"{phase:8}" + "".join(f"  {name} {_milliseconds(one)}" for name, one in row.items()))
    for code, number in found.problems.items():
        print(f"{number} answers without actions: {code}")
    for sentence in said:
        print(sentence)
    print("next: volano serve status, or the board in infra/monitoring")


def _plain_quantile(one: "Quantile") -> list[float | None]:
    """Value, low and high; None for a bound that there is not."""
    return [one.value, one.low, one.high if math.isfinite(one.high) else None]


def _milliseconds(one: "Quantile") -> str:
    high = f"{one.high * 1e3:.2f}" if math.isfinite(one.high) else "?"
    return f"{one.value * 1e3:8.2f} ({one.low * 1e3:.2f} to {high})"


@app.command(context_settings=PASSED_ON, add_help_option=False)
def uploads(context: typer.Context) -> None:
    """Take robots' uploads; takes the arguments of `python -m serving.uploads`, also --help."""
    raise run_application("serving.uploads", context.args)


def _start(folder: "GatewayFolder", home: Path, given: list[str]) -> None:
    require_application("serving")
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "--home", str(home), *given],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    began = time.monotonic()
    while process.poll() is None and not folder.occupied() and time.monotonic() - began < _START_S:
        time.sleep(0.1)


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    last = lines[-2:] if lines[-1:] and lines[-1].strip().startswith("fix: ") else lines[-1:]
    return "; ".join(line.strip()[:300] for line in last) or "it said nothing"


def _wait(folder: "GatewayFolder", wait: float) -> "GatewayStatus":
    since, until = time.time(), time.monotonic() + wait
    while time.monotonic() < until:
        if not folder.occupied():
            raise ServeError(
                Code.SERVE_UNAVAILABLE, f"the gateway ended: {_last_words(folder.log)}", f"see the end of {folder.log}"
            )
        status = folder.status()
        if status is not None and status.settled(since) and is_healthy(status):
            return status
        time.sleep(0.2)
    raise ServeError(Code.SERVE_UNAVAILABLE, "the gateway is not ready in time", f"see {folder.log}, or wait longer")


def is_healthy(status: "GatewayStatus") -> bool:
    """Whether the gateway answers a probe; it is of this machine, so no proxy is asked."""
    try:
        with build_opener(ProxyHandler({})).open(f"{status.watch}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _plain(status: "GatewayStatus") -> dict[str, object]:
    return {
        "pid": status.pid,
        "url": status.url,
        "watch": status.watch,
        "policies": dict(status.policies),
        "parity": dict(status.parity),
    }


def _show(status: "GatewayStatus") -> None:
    print(f"listening: {status.url} (process {status.pid})")
    print(f"metrics: {status.watch}/metrics")
    print_table({digest[:12]: problem or "ready" for digest, problem in status.policies.items()})
    for digest, robots in status.parity.items():
        for one in robots:
            near = f"cosine {one['cosine']:.6f}, at most {one['difference']:.2%} of a range"
            print(f"{digest[:12]} {one['tag']}: against fp32 {near}, n = {one['observations']}")
    if not status.policies:
        print("no policy is in place: robots are told to hold")
