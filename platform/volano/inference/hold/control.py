"""Brings an operator's order to a gateway, over the gateway's own port, and hears whether it was obeyed."""

import json
import ssl
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from volano.data.text import strict_object
from volano.errors import Code, HoldError

CONTROL_PATH = "/control"
_PATIENCE_S = 5.0
_MAX_ANSWER = 4096


def send_order(
    url: str, envelope: bytes, patience_s: float = _PATIENCE_S, tls: ssl.SSLContext | None = None
) -> dict[str, object]:
    """Send a signed order to the gateway at `url`, ws:// or wss:// with `tls`; returns what it says: `order`, `new`,
    and how many robots are `connected` and `held`. Raises HoldError(E-HOLD-005) unless it confirms in time."""
    parts = urlsplit(url)
    target = urlunsplit((parts.scheme, parts.netloc, CONTROL_PATH, "", ""))
    try:
        with connect(
            target, ssl=tls, open_timeout=patience_s, close_timeout=0.2, max_size=_MAX_ANSWER, proxy=None
        ) as connection:
            connection.send(envelope)
            said = connection.recv(timeout=patience_s)
    except (OSError, WebSocketException, ValueError) as error:
        raise _unconfirmed(url, str(error) or type(error).__name__) from error
    try:
        return strict_object(said.encode() if isinstance(said, str) else said)
    except ValueError as error:
        raise _unconfirmed(url, said[:200] if isinstance(said, str) else "it speaks otherwise") from error


def confirm(url: str, said: dict[str, object]) -> str:
    """What a gateway confirmed, in words."""
    return f"{url}: {json.dumps(said.get('held'))} of {json.dumps(said.get('connected'))} connected robots are held"


def _unconfirmed(url: str, cause: str) -> HoldError:
    return HoldError(
        Code.HOLD_UNCONFIRMED,
        f"{url} did not confirm the order: {cause}",
        "robots whose gateway cannot be reached lose their lease within seconds; give the order again, or by a file",
    )
