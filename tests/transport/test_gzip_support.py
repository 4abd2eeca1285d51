"""A server that cannot take compressed requests gets plain ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alignai._transport.api_client import Action, APIClient
from tests.support.servers.connect import ConnectServer
from tests.support.servers.raw import OK, RawServer, answer, body, header, http
from tests.support.uploads import MANY, REQUEST_ID, upload, upload_to

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    Start = Callable[..., RawServer]

HTML = b"<html><body>Unsupported</body></html>"


def uncompressed(server: RawServer) -> list[bool]:
    return [header(request, "content-encoding") is None for request in server.requests]


def test_a_server_without_compression_gets_the_same_request_plain() -> None:
    with ConnectServer(compressions=()) as server:
        assert upload_to(server.url, MANY).action is Action.SENT
    assert [request.request_id for request in server.requests] == [REQUEST_ID]
    assert server.ids() == [f"{number:032x}" for number in range(20)]


NO_GZIP = http(501, b'{"code": "unimplemented", "message": "unknown compression: \'gzip\'"}')


@pytest.mark.parametrize("refusal", [NO_GZIP, http(415, HTML, "text/html"), http(501, b"no such Content-Encoding")])
def test_once_compression_is_refused_the_client_stays_plain(
    raw_server: Start, make_client: Callable[[str], APIClient], refusal: bytes
) -> None:
    server = raw_server(answer(refusal, OK))
    client = make_client(server.url)
    assert [upload(client, MANY).action for _ in range(2)] == [Action.SENT] * 2
    assert uncompressed(server) == [False, True, True]
    assert body(server.requests[1]) == body(server.requests[2])


def test_an_unimplemented_method_is_not_asked_for_again(raw_server: Start) -> None:
    server = raw_server(answer(http(501, b'{"code": "unimplemented", "message": "no such method"}')))
    assert upload_to(server.url, MANY).action is Action.HOLD
    assert len(server.requests) == 1


def refuse_compressed(conn: socket.socket, request: bytes, n: int) -> None:
    conn.sendall(OK if header(request, "content-encoding") is None else http(400, b'{"code": "invalid_argument"}'))


def test_a_server_that_takes_gzip_for_bad_json_gets_it_plain(
    raw_server: Start, make_client: Callable[[str], APIClient]
) -> None:
    server = raw_server(refuse_compressed)
    client = make_client(server.url)
    assert [upload(client, MANY).action for _ in range(2)] == [Action.SENT] * 2
    assert uncompressed(server) == [False, True, True]


def test_bad_events_are_bad_compressed_or_not(raw_server: Start, make_client: Callable[[str], APIClient]) -> None:
    bad = http(400, b'{"code": "invalid_argument", "message": "bad event"}')
    server = raw_server(answer(bad, bad, OK, bad))
    client = make_client(server.url)
    actions = [upload(client, MANY).action for _ in range(3)]
    assert actions == [Action.ISOLATE, Action.SENT, Action.ISOLATE]
    assert uncompressed(server) == [False, True, False, False]
