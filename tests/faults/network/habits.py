"""What the way to a server does all the time: it objects to a choice of the client's, or an address of it is mute."""

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

MUTE_ADDRESS = """
import os, socket
real = socket.getaddrinfo
def resolve(*args, **kwargs):
    found = real(*args, **kwargs)
    mute = [(*each[:4], ("127.0.0.1", int(os.environ["MUTE_PORT"]))) for each in found[:1]]
    return mute + found
socket.getaddrinfo = resolve
"""
"""A host with two addresses, the first of which answers nothing."""


class Objection(NamedTuple):
    """
    What is never taken: not by the server, but by something before it.

    Attributes:
        to: "compressed" bodies, or requests on an "old connection", that is any but the first of each.
        status: What is answered; 0 for a reset.
    """

    to: str
    status: int

    @classmethod
    def drawn(cls, rng: random.Random) -> Objection | None:
        """Return an objection, or None, as in half the trials."""
        to = rng.choice(["", "", "compressed", "old connection"])
        return cls(to, rng.choice([0, *STATUSES])) if to else None

    def concerns(self, request: bytes, before: int) -> bool:
        """Return True if *request*, which came after so many others on its connection, is objected to."""
        return before > 0 if self.to == "old connection" else header(request, "content-encoding") is not None

    def answer(self, conn: socket.socket, status: int) -> None:
        """Refuse a request."""
        if status:
            conn.sendall(http(status, b"<html><body>Go away</body></html>", "text/html"))
        else:
            reset(conn, b"", 0)


@contextmanager
def mute_port() -> Iterator[int]:
    """A port that answers nothing: its queue of new connections is full, and more are dropped without a word."""
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
    """Read a request as over a slow line: some hundred kilobytes a second."""
    with suppress(OSError):
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    received = b""
    while not is_whole(received) and (piece := conn.recv(2048)):
        received += piece
        time.sleep(0.005)
    return received
