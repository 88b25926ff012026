"""A robot's connection to the platform's door for uploads: one question in JSON, and pieces put where it says.

Plain HTTP by Python's own client. An answer is bounded before it is read, and what it names is checked against the
robot's own manifest by whoever sends; a door spoken to by https names no address without it.
"""

import http.client
import io
import json
import ssl
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from volano.errors import Code, DataError, PolicyError, ServeError, StorageError, VolanoError, WireError

_MAX_ANSWER_BYTES = 1 << 20
_MAX_PAPERS_BYTES = 32 << 20
"""A list of releases may have 8 MB, which grow as a text in JSON, and roots come with it."""
_BLOCK_BYTES = 64 << 10
_THINK_S = 600.0
"""Longest silence before the platform's answer: it may read a large file back."""
_TAKEN = {200, 201, 204, 412}
"""412: it is there already."""
_LATER = {408, 409, 429, 500, 502, 503, 504}
_KINDS = {"E-DATA": DataError, "E-STORE": StorageError, "E-WIRE": WireError, "E-POLICY": PolicyError}


@dataclass(frozen=True, kw_only=True)
class Errand:
    """Bytes [start, start + size) of a file, and where to put them."""

    name: str
    start: int
    size: int
    url: str
    headers: Mapping[str, str]


class Platform:
    """One robot's door; use it from one thread."""

    def __init__(self, url: str, key: str, timeout_s: float = 60.0, tls: ssl.SSLContext | None = None) -> None:
        """`url` is `http://` or `https://`; `timeout_s` is the longest that the network may stand still; `tls` is for
        the platform itself, by default whom the machine trusts, as for every other address that it names."""
        self._tls = tls
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/json"}
        self._timeout_s = timeout_s
        parts = urlsplit(self._url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ServeError(Code.SERVE_UNAVAILABLE, "this URL names no platform", "name it as https://host:port")

    def ask(self, question: bytes) -> bytes | list[Errand]:
        """The receipt's envelope, or the pieces to send first. Raises the platform's refusal as what its code is;
        StorageError(E-STORE-004) when there is no answer."""
        status, answer = self._request("POST", f"{self._url}/uploads", question, self._headers, _THINK_S)
        try:
            found = json.loads(answer)
            if status == 200:
                return self._read(found)
            raise _refusal(found)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, VolanoError):
                raise
            raise _unavailable(self._url, f"HTTP {status}, and no answer that is understood") from error

    def papers(self, root: int) -> dict[str, Any]:
        """What is released and assigned, after the root of a number, unverified. Raises like `ask`."""
        return self._told("GET", f"papers?root={root}", b"", _MAX_PAPERS_BYTES)

    def report(self, envelope: bytes) -> None:
        """Say what the robot runs. Raises like `ask`."""
        self._told("POST", "reports", envelope)

    def _told(self, method: str, path: str, body: bytes, most: int = _MAX_ANSWER_BYTES) -> dict[str, Any]:
        status, answer = self._request(method, f"{self._url}/{path}", body, self._headers, _THINK_S, most)
        try:
            found = json.loads(answer)
            if status != 200:
                raise _refusal(found)
            return dict(found)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, VolanoError):
                raise
            raise _unavailable(self._url, f"HTTP {status}, and no answer that is understood") from error

    def put(self, errand: Errand, data: bytes) -> bool:
        """Put a piece; False when the address does not take it (any more). Raises StorageError(E-STORE-004) when it
        does not answer."""
        status, _ = self._request("PUT", errand.url, data, errand.headers, self._timeout_s)
        if status in _LATER:
            raise _unavailable(errand.url, f"HTTP {status}")
        return status in _TAKEN

    def _read(self, found: Any) -> bytes | list[Errand]:
        if "receipt" in found:
            return str(found["receipt"]).encode()
        return [self._errand(piece) for piece in found["pieces"]]

    def _errand(self, piece: Any) -> Errand:
        url = urljoin(f"{self._url}/", str(piece["url"]))
        if urlsplit(url).scheme not in {"https", urlsplit(self._url).scheme}:
            raise ValueError("an address without https")
        name, start, size = str(piece["name"]), int(piece["start"]), int(piece["size"])
        headers = {str(header): str(value) for header, value in piece["headers"].items()}
        return Errand(name=name, start=start, size=size, url=url, headers=headers)

    def _request(
        self,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        think_s: float,
        most: int = _MAX_ANSWER_BYTES,
    ) -> tuple[int, bytes]:
        parts = urlsplit(url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        # In blocks: the time limit is on each of them, and the whole takes as long as the network needs.
        told = {**headers, "Content-Length": str(len(body))}
        try:
            with closing(self._connection(parts.scheme, parts.netloc)) as connection:
                with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was read: it says why
                    connection.request(method, path, io.BytesIO(body), told)
                if connection.sock is not None:
                    connection.sock.settimeout(think_s)
                answer = connection.getresponse()
                return answer.status, answer.read(most + 1)
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(url, f"{type(error).__name__}: {error}") from error
        except ValueError as error:  # its text may hold the robot's key
            raise _unavailable(url, "the address or the robot's key cannot be sent") from error

    def _connection(self, scheme: str, place: str) -> http.client.HTTPConnection:
        if scheme != "https":
            return http.client.HTTPConnection(place, timeout=self._timeout_s, blocksize=_BLOCK_BYTES)
        own = self._tls if place == urlsplit(self._url).netloc else None
        return http.client.HTTPSConnection(place, timeout=self._timeout_s, blocksize=_BLOCK_BYTES, context=own)


def _refusal(found: Any) -> VolanoError:
    """What the platform refuses with, as the error that its code belongs to."""
    code = Code(found["code"])
    kind = _KINDS.get(code.rsplit("-", 1)[0], ServeError)
    if code in {Code.SERVE_UNAVAILABLE, Code.LEDGER_UNAVAILABLE}:
        kind, code = StorageError, Code.STORE_UNAVAILABLE
    return kind(code, str(found["cause"])[:500], str(found["fix"])[:500])


def _unavailable(url: str, cause: str) -> StorageError:
    host = urlsplit(url)
    return StorageError(
        Code.STORE_UNAVAILABLE,
        f"{host.scheme}://{host.netloc}: {cause}",
        "check that platform and store run and are reachable, then repeat",
    )
