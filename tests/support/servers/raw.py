"""A plain socket server that sends exactly the bytes of a test, for behaviour that no healthy server has."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from tests.support.servers.port import Port

if TYPE_CHECKING:
    import ssl

Script = Callable[[socket.socket, bytes, int], None]
"""Answers one request: (connection, the whole request as received, how many came before it)."""


class RawServer:
    """
    A socket server that reads whole HTTP requests and lets a script answer them, or close the connection.

    An error in a script other than a lost connection is raised by `stop`.

    Args:
        script: the answer to each request.
        reads: If false, the script is called once for each connection as soon as it is open, with b"" as request.
        tls: the server's TLS context, if it uses TLS.
        port: the port, or 0 for any.
    """

    def __init__(self, script: Script, *, reads: bool = True, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self._reads = reads
        self._tls = tls
        self._port = Port(port)
        self._lock = threading.Lock()
        self._live: set[socket.socket] = set()
        self._errors: list[BaseException] = []
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def listener(self) -> socket.socket:
        """The listening socket of a running server."""
        assert self._server
        return self._server.socket

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> Self:
        self._server = _Server(self._port.listener(), self._serve, self._errors)
        return self

    def stop(self) -> None:
        """Drop all connections, wait for the scripts to end, and raise their errors."""
        if self._server is not None:
            self._server.refuse_more()
            with self._lock:
                for conn in self._live:
                    _shut(conn)
            self._server.server_close()
            self._server = None
            self._port.hold()
        if self._errors:
            raise self._errors.pop()

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self._port.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, conn: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._live.add(conn)
        try:
            self._answer(self._tls.wrap_socket(conn, server_side=True) if self._tls else conn)
        finally:
            with self._lock:
                self._live.discard(conn)

    def _answer(self, conn: socket.socket) -> None:
        with conn:
            if self._reads:
                while conn.fileno() >= 0 and (request := read_request(conn)):
                    self.script(conn, request, self._note(request))
            else:
                self.script(conn, b"", self._note(b""))

    def _note(self, request: bytes) -> int:
        with self._lock:
            self.requests.append(request)
            return len(self.requests) - 1


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 64

    def __init__(
        self, listener: socket.socket, serve: Callable[[socket.socket], None], errors: list[BaseException]
    ) -> None:
        super().__init__(listener.getsockname(), socketserver.BaseRequestHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._serve = serve
        self._errors = errors
        self.server_activate()
        self._loop = threading.Thread(target=self.serve_forever, args=(0.02,), name="raw-server", daemon=True)
        self._loop.start()

    def refuse_more(self) -> None:
        self.shutdown()
        self._loop.join()

    def finish_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        try:
            self._serve(request)
        except OSError:
            pass  # the client has left, or the server is stopping
        except BaseException as error:  # noqa: BLE001 - any exception is raised on the test's thread
            self._errors.append(error)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        assert isinstance(request, socket.socket)
        request.close()


def _shut(conn: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(conn, socket.SHUT_RDWR)


def read_request(conn: socket.socket) -> bytes:
    """Read one whole request by its Content-Length. Return b"" if the client has closed the connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (piece := conn.recv(65536)):
            return b""
        received += piece
    pieces = [received]
    missing = _whole(received) - len(received)
    while missing > 0 and (piece := conn.recv(1 << 20)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def is_whole(received: bytes) -> bool:
    """Whether this is a whole request, by its Content-Length."""
    return b"\r\n\r\n" in received and len(received) >= _whole(received)


def _whole(received: bytes) -> int:
    head, end, _ = received.partition(b"\r\n\r\n")
    return len(head) + len(end) + int(header(received, "content-length") or 0)


def header(request: bytes, name: str) -> str | None:
    """The value of a header in a request as received."""
    for line in request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return None


def body(request: bytes) -> bytes:
    """Return the body of a request as received, which may be compressed."""
    return request.partition(b"\r\n\r\n")[2]


def http(
    status: int, content: bytes = b"", content_type: str = "application/json", **headers: str | int | None
) -> bytes:
    """
    Return the bytes of an answer. Headers are given by name, as `retry_after=3`, and None leaves a header out.
    """
    reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unheard Of"
    fields: dict[str, str | int | None] = {"content_type": content_type, "content_length": len(content), **headers}
    lines = [f"{name.replace('_', '-').title()}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status} {reason}", *lines, "", ""]).encode() + content


OK = http(200, b"{}")
"""The answer of a Connect server that has accepted the events."""


def answer(*answers: bytes) -> Script:
    """A script that sends these answers in turn, the last one to all later requests."""

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        conn.sendall(answers[min(n, len(answers) - 1)])

    return script


def answer_and_close(data: bytes) -> Script:
    """A script that sends *data* and closes the connection."""

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        conn.sendall(data)
        conn.close()

    return script


def silence(conn: socket.socket, request: bytes, n: int) -> None:
    """A script that says nothing until the client leaves or the server stops."""
    while conn.recv(65536):
        pass


def reset(conn: socket.socket, request: bytes, n: int) -> None:
    """A script that resets the connection."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def trickle(pieces: Iterable[bytes], every: float = 0.05, start: bytes = b"") -> Script:
    """A script that sends *start* at once, then a piece *every* so many seconds until the client leaves."""

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        conn.sendall(start)
        for piece in pieces:
            conn.sendall(piece)
            if gone(conn, every):
                return

    return script


def gone(conn: socket.socket, within: float) -> bool:
    """Whether the client leaves (or the server stops) within so many seconds."""
    readable, _, _ = select.select([conn], [], [], within)
    return bool(readable) and conn.recv(65536) == b""
