"""Names, proxies, certificates and the environment that a client finds itself in."""

from __future__ import annotations

import base64
import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from alignai._transport.api_client import Action, APIClient
from tests.support.servers.raw import OK, RawServer, answer, header, http, is_whole, silence, trickle
from tests.support.uploads import KEY, MANY, cancelled, huge, timed, upload, upload_to, wait_until

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

Start = Callable[..., RawServer]


def test_a_name_that_does_not_exist_is_retried() -> None:
    outcome = upload_to("http://nonexistent.invalid", seconds=20)
    assert outcome.error is not None
    assert (outcome.action, outcome.error.status_code) == (Action.RETRY, 0)
    assert outcome.error.err_msg.startswith("no response from http://nonexistent.invalid: ")


@pytest.fixture
def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Simulate a name server that does not answer. The event is set once it is asked."""
    asked, over = threading.Event(), threading.Event()

    def getaddrinfo(*_: object, **__: object) -> None:
        asked.set()
        over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked
    over.set()
    wait_until(lambda: not any(thread.name == "alignai-resolver" for thread in threading.enumerate()))


def test_a_resolver_that_hangs_is_left_by_the_deadline(hanging_resolver: threading.Event) -> None:
    outcome, soon = timed("http://ingestion.invalid")
    assert (outcome.action, soon) == (Action.RETRY, True)
    assert outcome.error is not None
    assert outcome.error.err_msg == (
        "no response from http://ingestion.invalid: the name ingestion.invalid was not resolved in time"
    )


def test_cancel_ends_an_upload_that_waits_for_the_resolver(hanging_resolver: threading.Event) -> None:
    outcome, soon = cancelled("http://ingestion.invalid", hanging_resolver.is_set)
    assert (outcome.action, soon) == (Action.RETRY, True)


@pytest.mark.parametrize("address", ["http://", "http://[::1", "ftp://127.0.0.1", "http://" + "a" * 70 + ".invalid"])
def test_an_invalid_address_holds(address: str) -> None:
    assert upload_to(address).action is Action.HOLD


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def through(proxy: str) -> None:
        for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy)

    return through


def test_an_upload_goes_through_the_proxy_of_the_environment(raw_server: Start, proxied: Callable[[str], None]) -> None:
    proxy = raw_server(answer(OK))
    proxied(proxy.url.replace("//", "//user:secret@"))
    assert upload_to("http://ingestion.invalid").action is Action.SENT
    (request,) = proxy.requests
    assert request.startswith(
        b"POST http://ingestion.invalid/ingestion.v1alpha.IngestionService/CollectEvents HTTP/1.1"
    )
    assert header(request, "authorization") == f"Bearer {KEY}"
    assert header(request, "proxy-authorization") == "Basic " + base64.b64encode(b"user:secret").decode()


def test_a_proxy_that_trickles_is_left_by_the_deadline(raw_server: Start, proxied: Callable[[str], None]) -> None:
    proxied(raw_server(trickle(itertools.repeat(b"x"), start=b"HTTP/1.1 200 OK\r\nX-Endless: ")).url)
    outcome, soon = timed("http://ingestion.invalid")
    assert (outcome.action, soon) == (Action.RETRY, True)


def test_a_tunnel_that_trickles_is_left_by_the_deadline(raw_server: Start, proxied: Callable[[str], None]) -> None:
    proxy = raw_server(trickle(itertools.repeat(b"x"), start=b"HTTP/1.1 200 OK\r\nX-Endless: "))
    proxied(proxy.url)
    outcome, soon = timed("https://ingestion.invalid")
    assert (outcome.action, soon) == (Action.RETRY, True)
    assert proxy.requests[0].startswith(b"CONNECT ingestion.invalid:443 HTTP/1.")


def test_a_proxy_that_refuses_the_tunnel_is_retried(raw_server: Start, proxied: Callable[[str], None]) -> None:
    proxy = raw_server(answer(http(407, b"", "text/html")))
    proxied(proxy.url)
    outcome = upload_to("https://ingestion.invalid")
    assert outcome.error is not None
    assert (outcome.action, outcome.error.err_msg) == (
        Action.RETRY,
        "no response from https://ingestion.invalid: Tunnel connection failed: 407 Proxy Authentication Required",
    )
    assert header(proxy.requests[0], "authorization") is None


def test_an_invalid_proxy_holds_and_its_password_is_masked(proxied: Callable[[str], None]) -> None:
    proxied("http://user:secret@:80:80")
    outcome = upload_to("http://ingestion.invalid")
    assert outcome.error is not None
    assert (outcome.action, "secret" in outcome.error.err_msg) == (Action.HOLD, False)


def test_netrc_does_not_replace_the_key(raw_server: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = raw_server(answer(OK))
    upload_to(server.url)
    assert header(server.requests[0], "authorization") == f"Bearer {KEY}"


def test_a_cookie_is_not_kept(raw_server: Start, make_client: Callable[[str], APIClient]) -> None:
    server = raw_server(answer(http(200, b"{}", set_cookie="track=me; Path=/")))
    client = make_client(server.url)
    actions = [upload(client).action for _ in range(2)]
    assert (actions, header(server.requests[1], "cookie")) == ([Action.SENT] * 2, None)


def test_an_untrusted_certificate_is_retried(raw_server: Start, tls: ssl.SSLContext) -> None:
    server = raw_server(answer(OK), tls=tls)
    outcome = upload_to(server.url)
    assert outcome.error is not None
    assert (outcome.action, outcome.error.status_code) == (Action.RETRY, 0)
    assert "self-signed certificate" in outcome.error.err_msg
    assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_uploads_over_tls_share_a_connection(
    raw_server: Start, tls: ssl.SSLContext, make_client: Callable[[str], APIClient]
) -> None:
    server = raw_server(answer(OK), tls=tls)
    client = make_client(server.url)
    assert [upload(client, events).action for events in (MANY, huge(), MANY)] == [Action.SENT] * 3
    assert server.connections == 1


@pytest.mark.usefixtures("trusted")
def test_a_tls_server_that_trickles_is_left_by_the_deadline(raw_server: Start, tls: ssl.SSLContext) -> None:
    server = raw_server(trickle(itertools.repeat(b"x"), start=b"HTTP/1.1 200 OK\r\nX-Endless: "), tls=tls)
    outcome, soon = timed(server.url)
    assert (outcome.action, soon) == (Action.RETRY, True)


@pytest.mark.usefixtures("trusted")
def test_cancel_ends_an_upload_over_tls(raw_server: Start, tls: ssl.SSLContext) -> None:
    server = raw_server(silence, tls=tls)
    outcome, soon = cancelled(server.url, lambda: bool(server.requests))
    assert (outcome.action, soon) == (Action.RETRY, True)


@pytest.mark.usefixtures("trusted")
def test_a_tls_server_that_reads_slowly_is_left_by_the_deadline(raw_server: Start, tls: ssl.SSLContext) -> None:
    over = threading.Event()

    def script(conn: socket.socket, request: bytes, n: int) -> None:
        received = b""
        while not over.wait(0.05) and (piece := conn.recv(256 * 1024)):
            received += piece
            if is_whole(received):
                conn.sendall(OK)

    outcome, soon = timed(raw_server(script, tls=tls, reads=False).url, huge())
    over.set()
    assert (outcome.action, soon) == (Action.RETRY, True)


@pytest.mark.usefixtures("trusted")
def test_an_upload_over_tls_goes_through_the_tunnel_of_a_proxy(
    raw_server: Start, tls: ssl.SSLContext, proxied: Callable[[str], None]
) -> None:
    server = raw_server(answer(OK), tls=tls)

    def tunnel(conn: socket.socket, request: bytes, n: int) -> None:
        conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.port)) as onward:
            back = threading.Thread(target=pump, args=(onward, conn))
            back.start()
            pump(conn, onward)
            back.join()

    proxied(raw_server(tunnel).url)
    assert upload_to(server.url, MANY).action is Action.SENT
    assert header(server.requests[0], "authorization") == f"Bearer {KEY}"


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
