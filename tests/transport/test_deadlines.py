"""An upload ends by its deadline or when it is cancelled, with any server and in any phase."""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import tracemalloc
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from alignai._transport.api_client import Action, APIClient
from alignai._transport.cancel_scope import CancelScope
from alignai._transport.connector import Connector
from alignai._transport.urllib3_adapter import _pool_classes
from alignai.deadline import Deadline
from tests.support.servers.raw import OK, RawServer, Script, answer, http, is_whole, silence, trickle
from tests.support.uploads import ONE, SOON, cancelled, huge, timed, upload, upload_to, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.servers.connect import ConnectServer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BYTES = itertools.repeat(b"x")


SERVERS: dict[str, Script] = {
    "silent": silence,
    "trickles its status line": trickle(BYTES, start=b"HTTP/1.1 200 "),
    "trickles one endless header": trickle(BYTES, start=HEAD + b"X-Endless: "),
    "trickles headers": trickle(itertools.repeat(b"X-Endless: x\r\n"), start=HEAD),
    "trickles its body": trickle(BYTES, start=HEAD + b"Content-Length: 100000\r\n\r\n{"),
    "trickles a body without length": trickle(BYTES, start=HEAD + b"\r\n{"),
    "trickles chunks": trickle(itertools.repeat(b"1\r\nx\r\n"), start=HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
    "stops in its body": trickle([], start=HEAD + b"Content-Length: 9\r\n\r\n{"),
    "continues for ever": trickle(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "trickles a refusal without length": trickle(BYTES, start=b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "stops after the head of a refusal": trickle([], start=b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "trickles a refusal": trickle(BYTES, start=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100000\r\n\r\n"),
}


@pytest.fixture(params=SERVERS)
def slow_server(request: pytest.FixtureRequest) -> Iterator[RawServer]:
    def script(conn: socket.socket, received: bytes, n: int) -> None:
        SERVERS[request.param](conn, received, n)
        silence(conn, received, n)

    with RawServer(script) as server:
        yield server


def test_an_upload_is_over_by_its_deadline(slow_server: RawServer) -> None:
    outcome, soon = timed(slow_server.url)
    assert (outcome.action, outcome.fault, soon) == (Action.RETRY, False, True)
    assert slow_server.connections == 1


def test_an_upload_without_time_sends_nothing(connect_server: ConnectServer) -> None:
    outcome = upload_to(connect_server.url, ONE, seconds=0)
    assert (outcome.action, connect_server.requests) == (Action.RETRY, [])


def test_a_connect_server_that_hangs_is_left_by_the_deadline(connect_server: ConnectServer) -> None:
    connect_server.respond = lambda request: connect_server.stopping.wait() and None
    outcome, soon = timed(connect_server.url)
    assert (outcome.action, soon) == (Action.RETRY, True)


def test_cancel_ends_an_upload(slow_server: RawServer) -> None:
    outcome, soon = cancelled(slow_server.url, lambda: bool(slow_server.requests))
    assert (outcome.action, outcome.fault, soon) == (Action.RETRY, False, True)


def test_cancel_ends_an_upload_on_a_kept_connection(raw_server: Callable[..., RawServer]) -> None:
    def script(conn: socket.socket, request: bytes, n: int) -> None:
        conn.sendall(OK) if n == 0 else silence(conn, request, n)

    server = raw_server(script)
    outcome, soon = cancelled(server.url, lambda: len(server.requests) == 2, first=1)
    assert (outcome.action, soon, server.connections) == (Action.RETRY, True, 1)


def test_a_flood_of_continues_ends_by_its_size(raw_server: Callable[..., RawServer]) -> None:
    """Each has a head so large that the limit of newer Pythons, a hundred interim answers, is not met first."""
    interim = b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 8000 + b"\r\n\r\n"

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        while True:
            conn.sendall(interim)

    outcome = upload_to(raw_server(script).url, seconds=60)
    assert (outcome.action, outcome.error and outcome.error.err_msg.rpartition(": ")[2]) == (
        Action.RETRY,
        "the response goes on after 262144 bytes",
    )


@pytest.fixture
def slow_reader(raw_server: Callable[..., RawServer]) -> Iterator[RawServer]:
    """A server that takes seconds to read a huge request, and would then take it."""
    over = threading.Event()

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        received = b""
        while not over.wait(0.05) and (piece := conn.recv(256 * 1024)):
            received += piece
            if is_whole(received):
                conn.sendall(OK)

    yield raw_server(script, reads=False)
    over.set()


def test_a_server_that_reads_slowly_is_left_by_the_deadline(slow_reader: RawServer) -> None:
    outcome, soon = timed(slow_reader.url, huge())
    assert (outcome.action, soon) == (Action.RETRY, True)


def test_cancel_ends_an_upload_to_a_server_that_reads_slowly(slow_reader: RawServer) -> None:
    outcome, soon = cancelled(slow_reader.url, lambda: bool(slow_reader.requests), huge())
    assert (outcome.action, soon) == (Action.RETRY, True)


def test_each_byte_that_a_server_reads_does_not_buy_more_time() -> None:
    scope = CancelScope()
    connection = _pool_classes(scope, Connector(scope))["http"].ConnectionCls("127.0.0.1")
    over = threading.Event()
    with ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair())
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.settimeout(SOON)
        connection.sock = ours

        def read_slowly() -> None:
            while not over.wait(0.02) and theirs.recv(4096):
                pass

        reader = threading.Thread(target=read_slowly)
        reader.start()
        stack.callback(reader.join)
        stack.callback(over.set)
        with scope.open(Deadline.after(0.5)), pytest.raises(TimeoutError):
            connection.send(bytes(400 * 4096))


@contextmanager
def full_backlog() -> Iterator[str]:
    """Yield the address of a server that accepts no connection and whose queue is full."""
    with ExitStack() as sockets:
        server = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(10):
            sock = sockets.enter_context(socket.socket())
            sock.settimeout(0.2)
            try:
                sock.connect(server.getsockname())
            except TimeoutError:
                yield f"http://127.0.0.1:{server.getsockname()[1]}"
                return
        pytest.skip("this system's queue of connections never fills")


def test_a_connection_that_is_never_made_is_given_up_by_the_deadline() -> None:
    with full_backlog() as url:
        outcome, soon = timed(url)
    assert (outcome.action, soon) == (Action.RETRY, True)


def test_cancel_ends_an_upload_that_is_connecting(raw_server: Callable[..., RawServer]) -> None:
    with full_backlog() as url:
        started = threading.active_count()
        outcome, soon = cancelled(url, lambda: threading.active_count() > started)
    assert (outcome.action, soon) == (Action.RETRY, True)


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x03"], ids=["silent", "trickling"])
def test_a_tls_handshake_is_over_by_the_deadline(raw_server: Callable[..., RawServer], start: bytes) -> None:
    script = trickle(BYTES, start=start) if start else silence
    url = raw_server(script, reads=False).url.replace("http:", "https:")
    outcome, soon = timed(url)
    assert (outcome.action, soon) == (Action.RETRY, True)


def test_cancel_ends_a_tls_handshake(raw_server: Callable[..., RawServer]) -> None:
    server = raw_server(silence, reads=False)
    outcome, soon = cancelled(server.url.replace("http:", "https:"), lambda: bool(server.requests))
    assert (outcome.action, soon) == (Action.RETRY, True)


def test_an_address_that_hangs_leaves_time_for_the_next(
    raw_server: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch, make_client: Callable[[str], APIClient]
) -> None:
    server = raw_server(answer(OK))
    with full_backlog() as hanging:
        ports = [int(hanging.rpartition(":")[2]), server.port]
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        outcome = upload(make_client("http://two-addresses.invalid"), ONE, seconds=4)
    assert outcome.action is Action.SENT


def test_after_a_cancel_the_client_works_again(
    raw_server: Callable[..., RawServer], make_client: Callable[[str], APIClient]
) -> None:
    server = raw_server(answer(OK))
    client = make_client(server.url)
    actions = []
    for _ in range(3):
        actions.append(upload(client).action)
        client.cancel()
    assert actions == [Action.SENT] * 3


def test_an_upload_that_waits_for_another_keeps_its_deadline(
    raw_server: Callable[..., RawServer], make_client: Callable[[str], APIClient]
) -> None:
    server = raw_server(silence)
    client = make_client(server.url)
    first = threading.Thread(target=upload, args=(client, ONE, 60))
    first.start()
    wait_until(lambda: bool(server.requests))
    outcome = upload(client, ONE, seconds=0.1)
    client.cancel()
    first.join()
    assert (outcome.action, len(server.requests)) == (Action.RETRY, 1)


def test_a_gzip_bomb_is_not_inflated(raw_server: Callable[..., RawServer]) -> None:
    bomb = http(200, gzip.compress(bytes(100 * 2**20)), content_encoding="gzip")
    server = raw_server(answer(bomb))
    tracemalloc.start()
    try:
        outcome = upload_to(server.url, seconds=60)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (outcome.action, peak < 20 * 2**20) == (Action.HOLD, True)
