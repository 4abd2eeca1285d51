"""After a failure the next upload avoids the choices of the failed one: connection, address and compression."""

from __future__ import annotations

import gzip
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignai._transport.api_client import Action, APIClient
from alignai._transport.gzip_support import GzipSupport
from tests.support.clients import client, record
from tests.support.servers.raw import OK, RawServer, Script, answer, body, header, http, reset
from tests.support.uploads import MANY, ONE, REQUEST_ID, upload

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., RawServer]
    Make = Callable[[str], APIClient]

HTML = b"<html><body>Go away</body></html>"


def refuse(status: int) -> Script:
    return answer(http(status, HTML, "text/html"))


FAILURES: dict[str, Script] = {
    "reset": reset,
    **{str(status): refuse(status) for status in (401, 403, 404, 406, 411, 415, 429, 500, 502, 503)},
}


@pytest.fixture(params=FAILURES)
def fail(request: pytest.FixtureRequest) -> Script:
    return FAILURES[request.param]


def accept(conn: socket.socket, request: bytes, n: int) -> None:
    conn.sendall(OK)


def addresses(*ports: int) -> list[tuple[object, ...]]:
    """Return a resolver's answer for a host with several addresses."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]


def is_compressed(request: bytes) -> bool:
    return header(request, "content-encoding") is not None


# -- the connection ----------------------------------------------------------------------------------------------------


def once_per_connection(fail: Script) -> Script:
    """A script that takes the first request of each connection and fails on the others."""
    seen: list[socket.socket] = []

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        (fail if conn in seen else accept)(conn, request, n)
        seen.append(conn)

    return script


def test_a_request_that_fails_on_a_kept_connection_goes_on_a_new_one(
    raw_server: Start, make_client: Make, fail: Script
) -> None:
    server = raw_server(once_per_connection(fail))
    client = make_client(server.url)
    actions = [upload(client).action for _ in range(4)]
    asked_for_patience = fail in (FAILURES[each] for each in ("429", "500", "502", "503"))
    assert actions == [Action.SENT, Action.RETRY if asked_for_patience else Action.SENT, Action.SENT, actions[1]]
    assert len({body(request) for request in server.requests}) == 1


def test_a_request_that_fails_on_a_new_connection_is_not_sent_at_once(raw_server: Start, make_client: Make) -> None:
    server = raw_server(refuse(503))
    client = make_client(server.url)
    assert [upload(client).action for _ in range(3)] == [Action.RETRY] * 3
    assert (len(server.requests), server.connections) == (3, 3)


def test_retry_after_is_obeyed_though_the_next_request_would_go_plain(raw_server: Start, make_client: Make) -> None:
    server = raw_server(answer(http(503, b"{}", retry_after=1), OK))
    assert upload(make_client(server.url), MANY).action is Action.RETRY
    assert len(server.requests) == 1


def test_a_connection_that_has_idled_for_long_is_not_used_again(
    raw_server: Start, make_client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = raw_server(accept)
    client = make_client(server.url)
    upload(client)
    monkeypatch.setattr("alignai._transport.http.MAX_IDLE_SECONDS", 0.0)
    assert upload(client).action is Action.SENT
    assert server.connections == 2


# -- the address -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken_first", [True, False])
def test_a_request_that_fails_at_an_address_goes_at_once_to_another(
    raw_server: Start, make_client: Make, fail: Script, broken_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = raw_server(fail), raw_server(accept)
    ports = [broken.port, sound.port] if broken_first else [sound.port, broken.port]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses(*ports))
    client = make_client("http://two-addresses.invalid")
    assert [upload(client).action for _ in range(4)] == [Action.SENT] * 4
    assert len(broken.requests) <= 1


def test_an_address_that_breaks_is_left_for_another(
    raw_server: Start, make_client: Make, fail: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = raw_server(accept), raw_server(accept)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses(first.port, second.port))
    client = make_client("http://two-addresses.invalid")
    upload(client)
    first.script = fail
    assert [upload(client).action for _ in range(3)] == [Action.SENT] * 3
    assert len(second.requests) == 3


def test_each_of_three_addresses_is_tried(
    raw_server: Start, make_client: Make, fail: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [raw_server(fail), raw_server(fail), raw_server(accept)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses(*(server.port for server in servers)))
    client = make_client("http://three-addresses.invalid")
    assert [upload(client).action for _ in range(2)] == [Action.SENT] * 2
    assert [len(server.requests) for server in servers] == [1, 1, 2]


def close(conn: socket.socket, request: bytes, n: int) -> None:
    conn.close()


@pytest.mark.usefixtures("trusted")
def test_an_address_that_fails_on_connecting_is_left_for_another(
    raw_server: Start, make_client: Make, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = raw_server(close, reads=False), raw_server(accept, tls=tls)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses(broken.port, sound.port))
    client = make_client("https://127.0.0.1")
    assert [upload(client).action for _ in range(2)] == [Action.SENT] * 2
    assert len(broken.requests) == 1


# -- compression -------------------------------------------------------------------------------------------------------


def only_plain(fail: Script) -> Script:
    def script(conn: socket.socket, request: bytes, n: int) -> None:
        (fail if is_compressed(request) else accept)(conn, request, n)

    return script


def test_a_failed_compressed_request_is_followed_by_a_plain_one(
    raw_server: Start, make_client: Make, fail: Script
) -> None:
    server = raw_server(only_plain(fail))
    client = make_client(server.url)
    assert [upload(client, MANY).action for _ in range(3)] == [Action.SENT] * 3
    assert [is_compressed(request) for request in server.requests] == [True, False, False, False]
    assert all(REQUEST_ID.encode() in body(request) for request in server.requests[1:])
    assert gzip.decompress(body(server.requests[0])) == body(server.requests[1])


def test_a_firewall_against_gzip_that_comes_later_delays_one_upload(
    raw_server: Start, make_client: Make, fail: Script
) -> None:
    server = raw_server(accept)
    client = make_client(server.url)
    upload(client, MANY)
    server.script = only_plain(fail)
    actions = [upload(client, MANY).action for _ in range(12)]
    assert actions[1:] == [Action.SENT] * 11


def test_one_failure_does_not_end_compression_for_good(raw_server: Start, make_client: Make) -> None:
    server = raw_server(answer(http(503), OK))
    client = make_client(server.url)
    client._compression.wanted = lambda size: True  # type: ignore[method-assign] # however near the server is
    for _ in range(12):
        assert upload(client, MANY).action is Action.SENT
    assert is_compressed(server.requests[-1])


def test_a_short_lived_process_delivers_past_a_firewall(raw_server: Start, spool_path: Path, fail: Script) -> None:
    server = raw_server(only_plain(fail))
    with client(server.url, spool_path, flush_interval_ms=3_600_000) as sdk:
        record(sdk, 20)
        assert sdk.flush(10)


FAULTS = st.lists(st.booleans(), max_size=60)


@given(takes_compressed=st.booleans(), faults=FAULTS)
def test_gzip_support_finds_out_what_a_server_takes(takes_compressed: bool, faults: list[bool]) -> None:
    """After any faults of the network, each upload needs two requests at most, and compression comes back."""
    support = GzipSupport()

    def request(*, fault: bool = False) -> bool:
        compressed = support.expected
        if fault or (compressed and not takes_compressed):
            support.failed(compressed=compressed)
            return False
        support.succeeded(compressed=compressed)
        return True

    for fault in faults:
        request(fault=fault)
    assert request() or request()
    compressed = []
    for _ in range(2**12):
        compressed.append(support.expected)
        assert request() or request()
    assert compressed[-1] or not takes_compressed
    assert takes_compressed or sum(compressed) < 20


@given(st.lists(st.sampled_from(["failed", "succeeded"]), max_size=20))
def test_a_failed_request_goes_plain_until_gzip_is_proven(steps: list[str]) -> None:
    support = GzipSupport()
    for step in steps:
        compressed = support.expected
        if step == "succeeded" and not compressed:
            support.succeeded(compressed=False)
        elif step == "failed":
            assert support.failed(compressed=compressed) is compressed
            assert support.expected is False or not compressed


def test_every_request_has_a_length(raw_server: Start, make_client: Make) -> None:
    server = raw_server(accept)
    client = make_client(server.url)
    for events in (ONE, MANY):
        upload(client, events)
    lengths = [(header(request, "content-length"), header(request, "transfer-encoding")) for request in server.requests]
    assert lengths == [(str(len(body(request))), None) for request in server.requests]
