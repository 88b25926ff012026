"""What a gateway process is told on its command line."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from serving.dialects import DIALECTS
from serving.limits import Limits
from serving.listeners import LISTENERS
from serving.ports import host_and_port, port_number
from serving.tls import TlsFiles
from volano.model.engine import Engine, Precision
from volano.registry.trust import ANCHOR
from volano.storage.open import open_store

_NAMES = (*DIALECTS, *LISTENERS)
_WATCH = "where /metrics, /healthz and /readyz are, in the clear; default: a free port of this machine alone"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a gateway process is told."""

    home: Path
    host: str
    port: int
    listen: tuple[tuple[str, int], ...]
    """Further ports, by what is spoken there: a name of `DIALECTS`, over WebSockets, or of `LISTENERS`."""
    store: str
    ledger: str
    keys: Path
    """Folder with the director's key, and the online key if this gateway renews what is released."""
    anchor: Path
    """The root whose word counts."""
    timeout_s: float
    """Longest that a policy may think about one answer."""
    grace_s: float
    """A policy that is no longer named is kept for episodes that began at most so long ago."""
    drain_s: float
    """Longest that robots may go on with their episodes when the gateway is told to stop."""
    replicas: int
    """Per policy."""
    cpus: float
    """What one replica reserves of the cluster."""
    tls: TlsFiles | None
    watch: tuple[str, int]
    """Host and port of those who watch."""
    access_bytes: int
    """Of the access log on the disk."""
    limits: Limits
    engine: Engine
    """How replicas compute."""


def read_settings(arguments: list[str] | None = None) -> Settings:
    """The command line."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m serving", description="Serve policies to robots."
    )
    variable = os.environ.get
    parser.add_argument("--home", type=Path, required=True, help="folder with store/, ledger.db and keys/")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port_number, default=8700, help="0 takes a free one")
    parser.add_argument(
        "--listen",
        type=_named_port,
        action="append",
        default=[],
        metavar="NAME=PORT",
        help=f"one more port, for stock clients that give no path: {', '.join(_NAMES)}",
    )
    parser.add_argument("--store", default=variable("VOLANO_STORE", ""), help="URL; default: $VOLANO_STORE, HOME/store")
    parser.add_argument(
        "--ledger", default=variable("VOLANO_LEDGER", ""), help="URL; default: $VOLANO_LEDGER, HOME/ledger.db"
    )
    parser.add_argument("--keys", type=Path, default=None, help="director's and online key; default: HOME/keys")
    parser.add_argument("--root", type=Path, default=None, help="the root that is trusted; default: root.json there")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds that a policy may think")
    parser.add_argument("--grace", type=float, default=300.0, help="seconds that an episode may go on after a change")
    parser.add_argument(
        "--drain", type=_positive, default=0, help="seconds that episodes may go on when the gateway is told to stop"
    )
    parser.add_argument("--replicas", type=int, default=1, help="replicas per policy")
    parser.add_argument("--cpus", type=float, default=0.2, help="cores reserved per replica")
    parser.add_argument("--watch", type=host_and_port, default=("127.0.0.1", 0), metavar="HOST:PORT", help=_WATCH)
    parser.add_argument("--access-log-mib", type=_positive, default=1024, help="of the access log on the disk")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32", help="of matrix products")
    parser.add_argument("--compile", action="store_true", help="answer by compiled code")
    add_tls(parser)
    _add_limits(parser)
    given = parser.parse_args(arguments)
    named = [name for name, _ in given.listen]
    if twice := sorted({name for name in named if named.count(name) > 1}):
        parser.error(f"argument --listen: {', '.join(twice)} has two ports, and can have one")
    home = given.home.resolve()
    return Settings(
        home=home,
        host=given.host,
        port=given.port,
        listen=tuple(given.listen),
        store=open_store(given.store or str(home / "store")).url,
        ledger=given.ledger or f"sqlite:///{home / 'ledger.db'}",
        keys=given.keys or home / "keys",
        anchor=given.root or (given.keys or home / "keys") / ANCHOR,
        timeout_s=given.timeout,
        grace_s=given.grace,
        drain_s=given.drain,
        replicas=given.replicas,
        cpus=given.cpus,
        tls=tls_of(parser, given),
        watch=given.watch,
        access_bytes=given.access_log_mib << 20,
        limits=Limits(
            answers_per_s=given.robot_rate,
            episodes_per_minute=given.episode_rate,
            failures_per_s=given.failure_rate,
            sockets_per_address=given.address_sockets,
        ),
        engine=Engine(precision=given.precision, compiled=given.compile),
    )


def add_tls(parser: argparse.ArgumentParser) -> None:
    """The options of every door that encrypts."""
    parser.add_argument("--tls-certificate", type=Path, help="PEM file; every port for robots then speaks TLS 1.3")
    parser.add_argument("--tls-key", type=Path, help="PEM file of its key")
    parser.add_argument("--client-ca", type=Path, help="PEM file: who connects needs a certificate that it signed")


def tls_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> TlsFiles | None:
    """What was given of them; ends with a message when it is half."""
    if given.tls_certificate is None and given.tls_key is None and given.client_ca is None:
        return None
    if given.tls_certificate is None or given.tls_key is None:
        parser.error("--tls-certificate and --tls-key belong together, and --client-ca needs them")
    return TlsFiles(certificate=given.tls_certificate, key=given.tls_key, client_ca=given.client_ca)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    usual = Limits()
    parser.add_argument("--robot-rate", type=_positive, default=usual.answers_per_s, help="questions of a robot, 1/s")
    parser.add_argument(
        "--episode-rate", type=_positive, default=usual.episodes_per_minute, help="new episodes of a robot, 1/min"
    )
    parser.add_argument(
        "--failure-rate", type=_positive, default=usual.failures_per_s, help="unknown keys of an address, 1/s"
    )
    parser.add_argument(
        "--address-sockets", type=_positive, default=usual.sockets_per_address, help="open sockets of an address"
    )


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _named_port(text: str) -> tuple[str, int]:
    name, _, port = text.partition("=")
    if name not in _NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(_NAMES)}, with =PORT")
    return name, port_number(port)
