"""What every verb shares: its options, and how results and errors reach a person or a program."""

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volano.errors import Code, ConfigError, LedgerError, StorageError, VolanoError
from volano.storage.files import FULL, cannot_write

if TYPE_CHECKING:
    from volano.ledger.ledger import Ledger as OpenLedger

_REPORT = "run it again as `volano --debug ...` and report the traceback"
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.")]
HOME = Path(".volano")
"""Where a flywheel on this machine keeps everything, unless it is told otherwise."""
STORE, LEDGER = str(HOME / "store"), f"sqlite:///{HOME / 'ledger.db'}"
Store = Annotated[
    str,
    typer.Option("--store", envvar="VOLANO_STORE", help="A folder, or s3://bucket/prefix?endpoint=http://host:port."),
]
Ledger = Annotated[
    str, typer.Option("--ledger", envvar="VOLANO_LEDGER", help="sqlite:///path or postgresql://... of the ledger.")
]

Authority = Annotated[
    Path | None,
    typer.Option("--ca", help="PEM file: who signed the platform's certificate; default: whom the machine trusts."),
]
Certificate = Annotated[
    Path | None, typer.Option("--certificate", help="PEM file: the certificate to show, the robot's own on a robot.")
]
CertificateKey = Annotated[Path | None, typer.Option("--certificate-key", help="PEM file of its key.")]


def robot_key(path: Path) -> str:
    """A robot's key, out of its file. Raises ConfigError(E-CONFIG-003) when there is none."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as error:
        cause = f"{path} is no file with a robot's key: {error.strerror if isinstance(error, OSError) else 'no text'}"
        raise ConfigError(Code.CONFIG_VALUE, cause, "name the file that `volano robot enroll --key` wrote") from error


@dataclass(kw_only=True)
class Session:
    """One run of the command."""

    debug: bool = False
    """Show tracebacks."""


def print_json(data: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(data, sort_keys=True))


def print_table(rows: Mapping[str, object]) -> None:
    """Names and values, one a line, aligned."""
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")


def print_error(error: Exception, *, as_json: bool = False) -> int:
    """Tell an error on standard error as code, cause and fix, or those as a JSON document; returns the exit code."""
    if isinstance(error, VolanoError):
        told = {"code": error.code, "cause": error.cause, "fix": error.fix}
        print(json.dumps(told) if as_json else _harmless(str(error)), file=sys.stderr)
        return error.exit_code
    if isinstance(error, OSError) and error.errno in FULL:
        return print_error(cannot_write(Path(error.filename or "what was said"), error), as_json=as_json)
    told = {"code": "", "cause": f"unexpected {type(error).__name__}: {error}", "fix": _REPORT}
    print(json.dumps(told) if as_json else _harmless(f"{told['cause']}\n  fix: {_REPORT}"), file=sys.stderr)
    return 1


def places(*, store: str = STORE, ledger: str = LEDGER) -> str:
    """The options that say again, in a command that is proposed, what is not at its default; for a shell. A ledger on a
    server, whose URL may hold a password, is expected in its variable."""
    said = [("--store", store, STORE), ("--ledger", ledger if ledger.startswith("sqlite:") else LEDGER, LEDGER)]
    return "".join(f" {option} {shlex.quote(value)}" for option, value, default in said if value != default)


def moment(option: str, text: str, otherwise: float) -> float:
    """Unix time in seconds of what a person wrote, UTC unless it says otherwise; raises ConfigError(E-CONFIG-003) for
    no time."""
    if not text:
        return otherwise
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            Code.CONFIG_VALUE, f"{option} {text!r} is no time", "give it as 2026-11-26 or 2026-11-26T07:00:00+01:00"
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def require_store(url: str) -> None:
    """Raise StorageError(E-STORE-004) when there is no such folder: opening would make an empty store."""
    path = Path(url.removeprefix("file://"))
    if not url.strip():
        raise StorageError(Code.STORE_UNAVAILABLE, "the store has no name", "name its folder or URL with --store")
    if "://" not in url.removeprefix("file://") and not path.is_dir():
        near = path / "store"
        fix = (
            f"did you mean {near}?" if near.is_dir() else "name the folder of one; a new one begins as an empty folder"
        )
        raise StorageError(Code.STORE_UNAVAILABLE, f"there is no store at {path}", fix)
    if (path / "store").is_dir() and (path / "ledger.db").is_file():
        raise StorageError(Code.STORE_UNAVAILABLE, f"{path} is a home, not a store", f"did you mean {path / 'store'}?")


def require_ledger(url: str) -> None:
    """Raise LedgerError(E-LEDGER-003) when there is no such file: opening would make an empty ledger."""
    path = Path(url.removeprefix("sqlite:///"))
    if "://" not in url.removeprefix("sqlite:///") and not path.is_file():  # other URLs may hold a password
        raise LedgerError(Code.LEDGER_UNAVAILABLE, f"there is no ledger at {path}", "name the file of an existing one")


def home_of(ledger: str) -> Path:
    """The folder that a ledger's file lies in; for one on a server, the usual home."""
    return Path(ledger.removeprefix("sqlite:///")).parent if ledger.startswith("sqlite:///") else HOME


@contextmanager
def ledger_if_any(url: str) -> Iterator["OpenLedger | None"]:
    """The ledger, or None where it was left at its default and there is none. Raises like `require_ledger` for one that
    was named."""
    if url == LEDGER and not Path(url.removeprefix("sqlite:///")).is_file():
        yield None
        return
    from volano.ledger.ledger import open_ledger

    require_ledger(url)
    with open_ledger(url) as opened:
        yield opened


def _harmless(text: str) -> str:
    """Errors quote what came from outside; a terminal obeys some of it."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
