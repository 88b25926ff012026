"""Ports: as the command line names them, and as sockets that listen."""

import argparse
import socket

from volano.errors import Code, ServeError

_MAX_PORT = 65535


def port_number(text: str) -> int:
    """A port, 0 for a free one; raises ArgumentTypeError for what is none. A larger number would open another port in
    silence."""
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to {_MAX_PORT}")
    return int(text)


def host_and_port(text: str) -> tuple[str, int]:
    """`HOST:PORT`, an IPv6 address in brackets; raises ArgumentTypeError for what is neither."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), port_number(port)


def bracketed(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def cannot_listen(host: str, port: int, error: Exception) -> ServeError:
    """The error of an address that is taken, or not of this machine."""
    reason = getattr(error, "strerror", None) or str(error)
    cause = f"cannot listen on {bracketed(host)}:{port}: {reason}"
    return ServeError(Code.SERVE_UNAVAILABLE, cause, "free the port or name another")


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens, port 0 for a free one; raises ServeError(E-SERVE-001) when it cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise cannot_listen(host, port, error) from error
