"""`volano serve`: the gateway that robots connect to, as a background process of this machine."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import typer

from volano.commands.application import PASSED_ON, ROOT, environment, require_application, run_application
from volano.commands.terminal import Json, print_json, print_table
from volano.errors import Code, ServeError

if TYPE_CHECKING:
    from volano.inference.running import GatewayFolder, GatewayStatus

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
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait until every policy is ready.")] = 180.0,
    as_json: Json = False,
) -> None:
    """Start the gateway unless it runs, and wait until every policy that the ledger names is ready."""
    from volano.inference.running import GatewayFolder

    folder = GatewayFolder(home.resolve())
    if not folder.occupied():
        _start(folder, home.resolve(), port)
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
    """Stop the gateway: answers in flight go out, then its replicas end. Stopping what does not run changes nothing."""
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
    until = time.monotonic() + _STOP_S
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


@app.command(context_settings=PASSED_ON, add_help_option=False)
def uploads(context: typer.Context) -> None:
    """Take robots' uploads; takes the arguments of `python -m serving.uploads`, also --help."""
    raise run_application("serving.uploads", context.args)


def _start(folder: "GatewayFolder", home: Path, port: int) -> None:
    require_application("serving")
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "--home", str(home), "--port", str(port)],
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


def _wait(folder: "GatewayFolder", wait: float) -> "GatewayStatus":
    since, until = time.time(), time.monotonic() + wait
    while time.monotonic() < until:
        if not folder.occupied():
            raise ServeError(Code.SERVE_UNAVAILABLE, "the gateway ended", f"see the end of {folder.log}")
        status = folder.status()
        if status is not None and status.settled(since) and is_healthy(status):
            return status
        time.sleep(0.2)
    raise ServeError(Code.SERVE_UNAVAILABLE, "the gateway is not ready in time", f"see {folder.log}, or wait longer")


def is_healthy(status: "GatewayStatus") -> bool:
    """Whether the gateway answers a probe; robots ask it without a proxy, so the probe does."""
    try:
        url = f"{status.url.replace('ws://', 'http://')}/healthz"
        with build_opener(ProxyHandler({})).open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _plain(status: "GatewayStatus") -> dict[str, object]:
    return {"pid": status.pid, "url": status.url, "policies": dict(status.policies)}


def _show(status: "GatewayStatus") -> None:
    print(f"listening: {status.url} (process {status.pid})")
    print_table({digest[:12]: problem or "ready" for digest, problem in status.policies.items()})
    if not status.policies:
        print("no policy is in place: robots are told to hold")
