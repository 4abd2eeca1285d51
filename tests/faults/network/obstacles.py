"""Permanent obstacles on the way to a server: a middlebox that refuses some requests, or a silent address."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from tests.support.servers.raw import header, http, is_whole, reset

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

STATUSES = (403, 404, 406, 411, 415, 429, 500, 502, 503)

SILENT_ADDRESS = """
import os, socket
real = socket.getaddrinfo
def resolve(*args, **kwargs):
    found = real(*args, **kwargs)
    silent = [(*each[:4], ("127.0.0.1", int(os.environ["SILENT_PORT"]))) for each in found[:1]]
    return silent + found
socket.getaddrinfo = resolve
"""
"""A script that gives a host two addresses. The first of them answers nothing."""


class Middlebox(NamedTuple):
    """
    A middlebox in front of the server that refuses some requests.

    Attributes:
        to: "compressed" for compressed bodies, "old connection" for any but the first request of a connection.
        status: The status of its answer, 0 for a reset.
    """

    to: str
    status: int

    @classmethod
    def drawn(cls, rng: random.Random) -> Middlebox | None:
        """Draw a middlebox, or None in half of the trials."""
        to = rng.choice(["", "", "compressed", "old connection"])
        return cls(to, rng.choice([0, *STATUSES])) if to else None

    def concerns(self, request: bytes, before: int) -> bool:
        """Return True if *request* is refused. *before* is the number of earlier requests on its connection."""
        return before > 0 if self.to == "old connection" else header(request, "content-encoding") is not None

    def answer(self, conn: socket.socket, status: int) -> None:
        """Refuse a request."""
        if status:
            conn.sendall(http(status, b"<html><body>Go away</body></html>", "text/html"))
        else:
            reset(conn, b"", 0)


@contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port that answers nothing: its queue is full, and the kernel drops further connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        try:
            yield int(listener.getsockname()[1])
        finally:
            for filler in fillers:
                filler.close()


def read_slowly(conn: socket.socket) -> bytes:
    """Read a request as over a slow connection, at some hundred kilobytes a second."""
    with suppress(OSError):
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    received = b""
    while not is_whole(received) and (piece := conn.recv(2048)):
        received += piece
        time.sleep(0.005)
    return received
