"""Refusals for size of any cause, and connections that are too slow for a request."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from connectrpc.code import Code

from alignai._delivery.batch_size import MIN_LIMIT_BYTES
from alignai._delivery.uploader import HOLD_SECONDS
from alignai._transport.api_client import Action, Outcome
from alignai._transport.cancel_scope import Progress
from alignai.exception import APIError
from tests.delivery.test_uploader import ids, messages, uploads
from tests.support.clients import client, record
from tests.support.servers.connect import ConnectServer, refuse
from tests.support.servers.raw import OK, RawServer, answer, body, header, http
from tests.support.uploads import encoded, event, upload, upload_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from alignai._transport.api_client import APIClient
    from alignai.deadline import Deadline

    Start = Callable[..., RawServer]

TOO_LARGE = {
    "413": http(413, b"<html>413 Request Entity Too Large</html>", "text/html"),
    "413 with a code": http(413, b'{"code": "resource_exhausted", "message": "no"}'),
    "413 with another code": http(413, b'{"code": "invalid_argument", "message": "no"}'),
    "429": http(429, b'{"code": "resource_exhausted", "message": "message is larger than configured max 5"}'),
}


# -- a server that refuses everything for its size ---------------------------------------------------------------------


@pytest.mark.parametrize("refusal", TOO_LARGE)
def test_a_refusal_of_a_small_event_for_its_size_is_a_hold(raw_server: Start, spool_path: Path, refusal: str) -> None:
    server = raw_server(answer(TOO_LARGE[refusal]))
    with uploads(server.url, spool_path, messages(60)) as up:
        while up.wait < 1:
            up.step()
        assert len(server.requests) < 10
        up.step(5)
        assert HOLD_SECONDS - 1 < up.wait <= HOLD_SECONDS
        assert (up.spool.totals().rejected, up.unsettled) == (0, 60)
        server.script = answer(OK)
        up.finish()
        assert up.spool.totals().sent == 60


def test_after_refusals_for_size_requests_are_as_large_as_before(raw_server: Start, spool_path: Path) -> None:
    server = raw_server(answer(TOO_LARGE["413"]))
    with uploads(server.url, spool_path, messages(50)) as up:
        while up.wait < 1:
            up.step()
        server.script = answer(OK)
        up.finish()
        server.requests.clear()
        for payload in messages(550)[50:]:
            up.spool.append(payload)
        up.finish()
        assert up.spool.totals().sent == 550
    assert len(server.requests) <= 10


def test_a_few_refusals_for_size_hardly_make_later_requests_smaller(raw_server: Start, spool_path: Path) -> None:
    server = raw_server(answer(TOO_LARGE["413"], TOO_LARGE["413"], OK))
    with uploads(server.url, spool_path, messages(550)) as up:
        up.finish()
        assert up.spool.totals().sent == 550
    assert len(server.requests) <= 60


def test_large_events_that_are_all_refused_for_size_are_refused_slowly(raw_server: Start, spool_path: Path) -> None:
    server = raw_server(answer(TOO_LARGE["413"]))
    with uploads(server.url, spool_path, messages(40, size=MIN_LIMIT_BYTES), flush_batch_size=10) as up:
        while up.wait < 1:
            up.step()
        assert up.spool.totals().rejected == 10
        assert HOLD_SECONDS - 1 < up.wait <= HOLD_SECONDS


def test_a_small_event_refused_for_its_size_does_not_block_others(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    def script(conn: socket.socket, request: bytes, n: int) -> None:
        conn.sendall(TOO_LARGE["413"] if b"bad" in body(request) else OK)

    with RawServer(script) as server, uploads(server.url, spool_path, messages(3, bad=[1])) as up:
        up.step(30)
        assert (up.spool.totals().sent, up.spool.totals().rejected) == (2, 1)


def test_flush_and_no_other_hastens_a_hold_for_size(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = refuse(Code.RESOURCE_EXHAUSTED, "message is larger than configured max 5")
    with client(connect_server.url, spool_path) as sdk:
        found = record(sdk, 3)
        assert not sdk.flush(1)
        assert (sdk.stats().rejected, len(connect_server.requests) < 12) == (0, True)
        connect_server.respond = None
        assert sdk.flush()
    assert connect_server.ids() == found


# -- a slow line -------------------------------------------------------------------------------------------------------


def request_id(request: bytes) -> bytes:
    return body(request)[len(b'{"requestId":"') :][:32]


class SlowLine:
    """A server that reads *bytes_per_second* from the smallest possible buffer and accepts whole requests."""

    def __init__(self, bytes_per_second: int) -> None:
        self.over = threading.Event()
        self._each = max(1, bytes_per_second // 50)
        self.whole: list[bytes] = []

    def __call__(self, conn: socket.socket, request: bytes, n: int) -> None:
        received = b""
        while not self.over.wait(0.02) and (piece := conn.recv(self._each)):
            received += piece
            _, end, rest = received.partition(b"\r\n\r\n")
            if end and len(rest) >= int(header(received, "content-length") or 0):
                self.whole.append(received)
                conn.sendall(OK)
                received = b""


@pytest.fixture
def slow_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], tuple[str, SlowLine]]]:
    """Return a function that starts a server behind a slow connection. Both sides buffer little, as on a real one."""
    connect = socket.socket.connect

    def small(sock: socket.socket, address: object) -> None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connect(sock, address)  # type: ignore[arg-type]

    class Small(socket.socket):
        connect = small

    monkeypatch.setattr(socket, "socket", Small)
    with contextlib.ExitStack() as stack:

        def start(bytes_per_second: int) -> tuple[str, SlowLine]:
            line = SlowLine(bytes_per_second)
            server = stack.enter_context(RawServer(line, reads=False))
            server.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stack.callback(line.over.set)
            return server.url, line

        yield start


def test_a_batch_that_is_too_large_for_the_connection_is_sent_in_parts(
    slow_line: Callable[[int], tuple[str, SlowLine]], spool_path: Path
) -> None:
    url, line = slow_line(200_000)
    payloads = encoded(*(event(n, content=f"{n} " + chr(65 + n) * 15_000) for n in range(16)))
    with uploads(url, spool_path, payloads, request_timeout_seconds=1) as up:
        up.client._compression.wanted = lambda size: False  # type: ignore[method-assign]
        up.finish()
        assert (up.spool.totals().sent, up.spool.totals().rejected, up.spool.check()) == (16, 0, [])
    for payload in payloads:  # the server has read it once, or again under the same request id
        assert len({request_id(request) for request in line.whole if payload in request}) == 1


def test_an_event_that_is_too_large_for_the_connection_gets_more_time(
    slow_line: Callable[[int], tuple[str, SlowLine]], spool_path: Path
) -> None:
    url, line = slow_line(200_000)
    payloads = encoded(event(1, content="x" * 150_000), event(2))
    with uploads(url, spool_path, payloads, request_timeout_seconds=0.5) as up:
        up.client._compression.wanted = lambda size: False  # type: ignore[method-assign]
        up.finish()
        assert up.spool.totals().sent == 2
        assert up.uploader._timeout_factor == 1
    assert len({request_id(request) for request in line.whole if payloads[0] in request}) == 1


def test_a_batch_that_may_have_arrived_keeps_its_id_and_gets_more_time(spool_path: Path) -> None:
    """As sent whole now, or in an earlier attempt."""
    whole = Outcome(Action.RETRY, APIError(0, "timed out"), too_slow=True)
    outcomes = [whole, *([replace(whole, unsent=True)] * 5)]
    with uploads("http://127.0.0.1:1", spool_path, messages(4), request_timeout_seconds=10) as up:
        tried: list[tuple[str, int, int]] = []

        def upload(request_id: str, events: Sequence[bytes], deadline: Deadline) -> Outcome:
            tried.append((request_id, len(events), round(deadline.remaining / 10)))
            return outcomes.pop(0) if outcomes else Outcome(Action.SENT, None)

        up.client.upload = upload  # type: ignore[method-assign]
        up.finish()
        up.spool.append(messages(1)[0])
        up.finish()
    ((first_id, _, _), *_, (last_id, _, _)) = tried
    assert tried == [*((first_id, 4, times) for times in (1, 2, 4, 8, 16, 16, 16)), (last_id, 1, 1)]


def test_a_batch_that_reached_no_server_is_split_on_a_slow_connection(spool_path: Path) -> None:
    away = Outcome(Action.RETRY, APIError(0, "no connection"), unsent=True)
    outcomes = [away, away, replace(away, too_slow=True)]
    with uploads("http://127.0.0.1:1", spool_path, messages(4)) as up:
        sizes = []

        def upload(request_id: str, events: Sequence[bytes], deadline: Deadline) -> Outcome:
            sizes.append(len(events))
            return outcomes.pop(0) if outcomes else Outcome(Action.SENT, None)

        up.client.upload = upload  # type: ignore[method-assign]
        up.finish()
    assert sizes == [4, 4, 4, 2, 2]


@pytest.mark.parametrize("first_unsent", [False, True])
def test_a_second_request_of_an_upload_does_not_take_back_the_first(
    make_client: Callable[[str], APIClient], first_unsent: bool
) -> None:
    client = make_client("http://127.0.0.1:1")
    attempts = [
        (Outcome(Action.RETRY, None, unsent=first_unsent), True),
        (Outcome(Action.RETRY, None, unsent=True), False),
    ]
    client._attempt = lambda body, deadline: attempts.pop(0)  # type: ignore[method-assign]
    assert upload(client).unsent is first_unsent


@pytest.mark.parametrize(
    ("unsent", "moved_at", "too_slow"),
    [(1, 9, True), (1, 4, False), (0, 9, True), (0, 4, False), (0, 0, False), (1, 0, False)],
)
def test_a_connection_is_slow_if_it_takes_bytes_until_the_timeout(unsent: int, moved_at: float, too_slow: bool) -> None:
    progress = Progress(began_at=100.0, reached=True, unsent=unsent, moved_at=100.0 + moved_at)
    assert progress.is_too_slow(110.0) is too_slow


def test_a_server_that_stops_reading_is_no_slow_connection(raw_server: Start) -> None:
    over = threading.Event()

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        over.wait(60)

    payload = encoded(event(1, content="x" * 20_000_000))
    server = raw_server(script, reads=False)
    outcome = upload_to(server.url, payload, seconds=1.5)
    over.set()
    assert (outcome.action, outcome.too_slow) == (Action.RETRY, False)


def test_a_usual_limit_is_found_and_kept(spool_path: Path) -> None:
    with ConnectServer(read_max_bytes=20_000) as server:
        with uploads(server.url, spool_path, messages(1500, size=1000)) as up:
            up.finish()
            refused = up.client.actions.count(Action.SPLIT)
        assert server.ids() == ids(range(1500))
    assert refused < 12


def test_unsent_bytes_are_discarded_after_the_timeout(
    raw_server: Start, make_client: Callable[[str], APIClient]
) -> None:
    """Or it goes on taking the next attempt's share of the line."""
    over, reset = threading.Event(), threading.Event()

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        over.wait(60)
        try:
            while conn.recv(1 << 20):
                pass
        except ConnectionResetError:
            reset.set()

    client = make_client(raw_server(script, reads=False).url)
    assert upload(client, encoded(event(content=os.urandom(4 << 20).hex())), 0.5).action is Action.RETRY
    over.set()
    assert reset.wait(20)
