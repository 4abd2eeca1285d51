"""A server that answers before it has read the whole request is heard."""

from __future__ import annotations

import gzip
import os
import socket
import threading
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignai._transport.api_client import Action, APIClient
from alignai._transport.urllib3_adapter import _has_response
from tests.support.servers.raw import OK, RawServer, gone, header, http
from tests.support.uploads import encoded, event, upload

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    Start = Callable[..., RawServer]
    Make = Callable[[str], APIClient]

PAGE = b"<html><body>No</body></html>"
STATUSES = {413: Action.SPLIT, 401: Action.HOLD, 503: Action.RETRY, 400: Action.ISOLATE}
SLOWLY = 60.0
"""The timeout of uploads in seconds. None of these takes as long."""


@cache
def large() -> list[bytes]:
    """Return a batch that is larger, even compressed, than the buffers of a connection."""
    return encoded(event(content=os.urandom(5 * 2**20).hex()))


def head(conn: socket.socket) -> bytes:
    """Read the header of a request and the bytes that came with it."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (piece := conn.recv(4096)):
            return b""
        received += piece
    return received


def no_more(conn: socket.socket) -> None:
    conn.shutdown(socket.SHUT_WR)
    gone(conn, SLOWLY)


def close(conn: socket.socket) -> None:
    """Close it with much unread, which resets it."""
    conn.close()


def read_on(conn: socket.socket) -> None:
    while conn.recv(1 << 20):
        pass


ENDINGS: dict[str, Callable[[socket.socket], None]] = {"FIN": no_more, "reset": close, "reads on": read_on}


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("ending", [*ENDINGS, "keep-alive"])
@pytest.mark.parametrize(("status", "secure"), [(413, False), (401, False), (503, False), (400, False), (413, True)])
def test_an_answer_before_the_whole_request_was_read_counts(
    raw_server: Start, make_client: Make, tls: ssl.SSLContext, status: int, ending: str, secure: bool
) -> None:
    over = threading.Event()

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a reset takes an answer back that waits
        if head(conn):
            conn.sendall(http(status, PAGE, "text/html", retry_after=1))
            if ending == "keep-alive":
                over.wait(SLOWLY)
            else:
                ENDINGS[ending](conn)

    server = raw_server(script, reads=False, tls=tls if secure else None)
    outcome = upload(make_client(server.url), large(), SLOWLY)
    over.set()
    assert (outcome.action, outcome.error and outcome.error.status_code) == (STATUSES[status], status)
    assert server.connections == 1


def test_after_an_early_answer_the_next_upload_comes_on_a_new_connection(raw_server: Start, make_client: Make) -> None:
    over = threading.Event()

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        while head(conn):
            conn.sendall(http(503, PAGE, "text/html", retry_after=1))
            over.wait(SLOWLY)

    server = raw_server(script, reads=False)
    client = make_client(server.url)
    assert [upload(client, large(), SLOWLY).action for _ in range(3)] == [Action.RETRY] * 3
    over.set()
    assert server.connections == 3


def test_a_success_before_the_whole_request_was_read_is_none(raw_server: Start, make_client: Make) -> None:
    over = threading.Event()

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        if head(conn):
            conn.sendall(OK)
            over.wait(SLOWLY)

    outcome = upload(make_client(raw_server(script, reads=False).url), large(), 5)
    over.set()
    assert outcome.action is Action.RETRY


def test_an_interim_answer_does_not_end_the_request(raw_server: Start, make_client: Make) -> None:
    def script(conn: socket.socket, request: bytes, n: int) -> None:
        received = head(conn)
        conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        missing = int(header(received, "content-length") or 0) - len(received.partition(b"\r\n\r\n")[2])
        pieces = []
        while missing > 0 and (piece := conn.recv(1 << 20)):
            pieces.append(piece)
            missing -= len(piece)
        assert gzip.decompress(received.partition(b"\r\n\r\n")[2] + b"".join(pieces)).startswith(b'{"requestId"')
        conn.sendall(OK)

    assert upload(make_client(raw_server(script, reads=False).url), large(), SLOWLY).action is Action.SENT


INTERIM = st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 100 Go on\r\nX: y\r\n\r\n"])
FINAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@given(st.lists(INTERIM).map(b"".join), st.integers(0, len(FINAL)))
def test_a_partial_response_is_distinguished_from_interim_ones(interim: bytes, length: int) -> None:
    assert _has_response(interim + FINAL[:length]) == (length >= len(b"HTTP/1.1 503"))
    for cut in range(len(interim)):
        assert not _has_response(interim[:cut])
