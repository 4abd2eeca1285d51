"""The collector's HTTP server: one path, Connect's responses, and connections that can be cut."""

from __future__ import annotations

import hmac
import json
import re
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any

from alignai._interruption import AllowingRefusal
from alignai.collector.request import Refusal, inflate, read_request, too_large
from alignai.constants import COLLECT_EVENTS_PATH

if TYPE_CHECKING:
    from alignai.collector.collector import Collector

IDLE_SECONDS = 60
_CHUNK_BYTES = 2**16


class Server(ThreadingHTTPServer):
    """A server that listens on 127.0.0.1 from its construction on; *port* 0 takes a free one."""

    # Closing waits for the threads of the connections, so that a stopped collector has no thread.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, collector: Collector, port: int) -> None:
        self.collector = collector
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        """Bind without the reverse DNS lookup of 127.0.0.1 that HTTPServer adds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its own thread, and register it for `cut_connections`."""
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        """Close a connection under the lock: once it is closed, its descriptor may belong to another."""
        with self._connections_lock:
            self._connections.discard(request)
            super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an error in a handler, unless the client has closed its connection."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def cut_connections(self) -> None:
        """End every open connection, also in the middle of a request."""
        with self._connections_lock:
            for connection in self._connections:
                _cut(connection)


def _cut(connection: socket.socket) -> None:
    with AllowingRefusal():  # the other side was quicker
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        collector = self.server.collector
        try:
            request_id, taken = self._read()
        except Refusal as refusal:
            collector.refuse(refusal)
            self._respond(refusal.status, {"code": refusal.code, "message": str(refusal)})
        else:
            collector.take(request_id, taken)
            self._respond(HTTPStatus.OK, {})

    def do_GET(self) -> None:
        status = HTTPStatus.METHOD_NOT_ALLOWED if self.path == COLLECT_EVENTS_PATH else HTTPStatus.NOT_FOUND
        self.send_error(status, f"{self.command} {status.phrase.lower()}: POST to {COLLECT_EVENTS_PATH}")

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = do_GET  # noqa: N815 - the names http.server calls

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Respond as Connect does if http.server itself refuses. The rest of the stream cannot be parsed."""
        refusal = Refusal(HTTPStatus(code), "unimplemented", message or explain or HTTPStatus(code).phrase)
        self.server.collector.refuse(refusal)
        self.close_connection = True
        self._respond(refusal.status, {"code": refusal.code, "message": str(refusal)})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Log nothing: paths and headers come from outside. The collector reports each request."""

    def _read(self) -> tuple[str, list[dict[str, Any]]]:
        body = self._body()
        if self.path != COLLECT_EVENTS_PATH:
            raise Refusal(HTTPStatus.NOT_FOUND, "unimplemented", f"not found: POST to {COLLECT_EVENTS_PATH}")
        if self.headers.get_content_type() != "application/json":
            message = "the content type must be application/json"
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unimplemented", message)
        self._authenticate()
        encoding = self.headers.get("Content-Encoding")
        return read_request(inflate(body, encoding, self.server.collector.max_request_bytes))

    def _authenticate(self) -> None:
        expected, shown = self.server.collector.api_key, self.headers.get("Authorization", "")
        if expected is not None and not hmac.compare_digest(f"Bearer {expected}".encode(), shown.encode()):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "unauthenticated", "the API key is missing or wrong")

    def _body(self) -> bytes:
        text = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,15}", text):
            self.close_connection = True  # the beginning of the next request is unknown
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "invalid_argument", "a Content-Length is needed")
        length, most = int(text), self.server.collector.max_request_bytes
        if length > most:
            self._discard(length)
            raise too_large(length, most)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the client went away in the middle of a request")
        return body

    def _discard(self, length: int) -> None:
        """Read and drop a body: a client that is still writing would not see the response."""
        while length > 0 and (chunk := self.rfile.read(min(length, _CHUNK_BYTES))):
            length -= len(chunk)

    def _respond(self, status: HTTPStatus, answer: dict[str, str]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
