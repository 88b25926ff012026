"""An HTTP proxy before an S3 server that spoils one request: denied, not answered, cut, altered, done and denied."""

import http.client
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = (
    "500",
    "503",
    "409",
    "412",
    "silence",
    "reset",
    "body altered on the way there",
    "done and 500",
    "done and reset",
    "done and silence",
    "answer cut",
    "answer altered",
)
_CODES = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "409": (409, "ConditionalRequestConflict"),
    "412": (412, "PreconditionFailed"),
    "done and 500": (500, "InternalError"),
}


class BadS3:
    """Counts requests and spoils the k-th; 0 spoils none."""

    def __init__(self, endpoint: str, silence_s: float) -> None:
        self.target = endpoint.removeprefix("http://")
        self.silence_s = silence_s
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._position, self._fault = 0, ""
        proxy = self

        class Handler(_Handler):
            bad_s3 = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def spoil(self, position: int, fault: str) -> None:
        """Begin to count anew."""
        with self._lock:
            self.requests, self._position, self._fault = [], position, fault

    def fault_of(self, request: str) -> str:
        """Count a request; what is to happen to it."""
        with self._lock:
            self.requests.append(request)
            return self._fault if len(self.requests) == self._position else ""

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments: Any) -> None:
        """A client that went away is what was wanted."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body that waits for its header to be acknowledged takes 40 ms more
    bad_s3: BadS3

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.bad_s3.fault_of(f"{self.command} {self.path.split('?')[0]}")
        if fault == "body altered on the way there":
            body = body[:-1] + bytes([body[-1] ^ 1]) if body else body
        if fault in {"silence", "reset"} or (fault in _CODES and not fault.startswith("done")):
            self._deny(fault)
            return
        connection = http.client.HTTPConnection(self.bad_s3.target, timeout=60)
        connection.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k != "Expect"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault.startswith("done"):
            self._deny(fault)
            return
        if fault == "answer altered" and content:
            content = content[: len(content) // 2] + b"?" + content[len(content) // 2 + 1 :]
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if fault == "answer cut" else content)
        self.close_connection = self.close_connection or fault == "answer cut"

    def _deny(self, fault: str) -> None:
        if fault in _CODES:
            status, code = _CODES[fault]
            content = f"<Error><Code>{code}</Code><Message>spoiled</Message></Error>".encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else content)
            return
        if fault.endswith("silence"):
            time.sleep(self.bad_s3.silence_s)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle

    def log_message(self, *_arguments: Any) -> None:
        """Nothing."""
