"""Verbs that run an application of the source tree: jobs, pipelines and serving, which the library never imports.

An application is found whatever folder the command is typed in, and finds files named on its command line from there.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer

from volano.errors import Code, SystemMissingError

ROOT = Path(__file__).resolve().parents[3]
"""The source tree, from which applications run."""
_ENDING_S = 10.0
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of a verb whose arguments are the application's own."""


def run_application(module: str, arguments: Sequence[str]) -> typer.Exit:
    """Run `python -m module arguments` here and answer with its exit code. Raises SystemMissingError(E-SYSTEM-001)
    outside a source tree."""
    require_application(module)
    with subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment()) as child, _passed_on(child):
        return typer.Exit(_status(child.wait()))


@contextmanager
def _passed_on(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Who asks the command to end means the application."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        yield
    except KeyboardInterrupt:  # Ctrl-C reaches both; a signal to this process alone does not
        with suppress(subprocess.TimeoutExpired):
            child.wait(_ENDING_S)
        child.terminate()
        child.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _status(code: int) -> int:
    """Of a process that a signal ended, as shells say it."""
    return code if code >= 0 else 128 - code


def ask_application(module: str, arguments: Sequence[str]) -> Any:
    """The JSON document that `python -m module arguments` writes. Ends with its exit code when it fails; raises like
    `run_application`."""
    require_application(module)
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)
    return json.loads(done.stdout)


def require_application(module: str) -> None:
    """Raise SystemMissingError(E-SYSTEM-001) when the source tree with this application is not here."""
    path = ROOT.joinpath(*module.split("."))
    if not (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()):
        raise SystemMissingError(
            Code.SYSTEM_LIBRARY, "the applications are not here", "run this from a checkout of Volano"
        )


def environment() -> dict[str, str]:
    """What an application needs in its environment."""
    path = [str(ROOT / "platform"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
