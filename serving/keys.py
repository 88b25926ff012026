"""Robots' keys: where one stands in what a client asks for a connection with, and how it is known; pure functions.

Clients differ: some send headers, some are given an address, some a host and a port alone. Whoever gives two keys, or
one that is too long to be one, gives none.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from urllib.parse import parse_qs

MAX_KEY = 512
"""Characters."""
_SCHEMES = ("Api-Key ", "Bearer ")
_MAX_FIELDS = 8


def digest_of(key: str) -> str:
    """The SHA-256 by which the directory knows a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def key_of(authorization: Sequence[str], query: str) -> str:
    """The key in the headers `Authorization`, or in the address of a client that cannot send one; empty when there is
    none."""
    found = _in_header(authorization) if authorization else _in_address(query)
    return found[0] if len(found) == 1 and len(found[0]) <= MAX_KEY else ""


def _in_address(query: str) -> list[str]:
    try:
        return parse_qs(query, max_num_fields=_MAX_FIELDS).get("key", []) if len(query) <= MAX_KEY else []
    except ValueError:  # more fields
        return []


def _in_header(authorization: Sequence[str]) -> list[str]:
    """The key, or the password of a client that is given `robot:KEY@host`, whatever the name before it."""
    text = authorization[0] if len(authorization) == 1 else ""
    for scheme in _SCHEMES:
        if text.startswith(scheme):
            return [text.removeprefix(scheme)]
    if not text.startswith("Basic ") or len(text) > 2 * MAX_KEY:
        return []
    try:
        pair = base64.b64decode(text.removeprefix("Basic "), validate=True).decode()
    except (binascii.Error, ValueError):
        return []
    return [pair.partition(":")[2]] if ":" in pair else []
