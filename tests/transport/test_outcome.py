"""Each row of the table of answers, from a real Connect server if it can answer so, otherwise from a socket."""

from __future__ import annotations

import socket

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from alignai._transport.api_client import Action, Outcome
from tests.support.servers.connect import ConnectServer, Request, refuse
from tests.support.servers.raw import OK, answer, answer_and_close, http, reset
from tests.support.uploads import KEY, MANY, REQUEST_ID, encoded, event, huge, unreachable, upload_to

HTML = b"<html><body>Welcome to our Wi-Fi</body></html>"
Start = "Callable[..., RawServer]"


def status_of(outcome: Outcome) -> int | None:
    return outcome.error.status_code if outcome.error else None


def text_of(outcome: Outcome) -> str:
    return outcome.error.err_msg if outcome.error else ""


def test_a_batch_that_the_server_takes_is_sent(connect_server: ConnectServer) -> None:
    assert upload_to(connect_server.url, MANY) == Outcome(Action.SENT, None)
    assert connect_server.events() == [event(number) for number in range(20)]
    assert connect_server.requests[0].request_id == REQUEST_ID


CODES = {
    Code.CANCELED: (Action.RETRY, 499),
    Code.UNKNOWN: (Action.RETRY, 500),
    Code.INVALID_ARGUMENT: (Action.ISOLATE, 400),
    Code.DEADLINE_EXCEEDED: (Action.RETRY, 504),
    Code.NOT_FOUND: (Action.HOLD, 404),
    Code.ALREADY_EXISTS: (Action.SENT, None),
    Code.PERMISSION_DENIED: (Action.HOLD, 403),
    Code.RESOURCE_EXHAUSTED: (Action.RETRY, 429),
    Code.FAILED_PRECONDITION: (Action.ISOLATE, 400),
    Code.ABORTED: (Action.RETRY, 409),
    Code.OUT_OF_RANGE: (Action.ISOLATE, 400),
    Code.UNIMPLEMENTED: (Action.HOLD, 501),
    Code.INTERNAL: (Action.RETRY, 500),
    Code.UNAVAILABLE: (Action.RETRY, 503),
    Code.DATA_LOSS: (Action.RETRY, 500),
    Code.UNAUTHENTICATED: (Action.HOLD, 401),
}


@pytest.mark.parametrize("code", Code)
def test_the_connect_code_decides(connect_server: ConnectServer, code: Code) -> None:
    connect_server.respond = refuse(code, "in its own words")
    outcome = upload_to(connect_server.url)
    assert (outcome.action, status_of(outcome)) == CODES[code]
    assert text_of(outcome).startswith("in its own words") or outcome.action is Action.SENT
    assert outcome.fault == (code in {Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS})


def test_the_code_decides_against_the_status(raw_server: Start) -> None:
    server = raw_server(answer(http(503, b'{"code": "unauthenticated", "message": "who is there?"}')))
    assert upload_to(server.url).action is Action.HOLD


@pytest.mark.parametrize("content", [b'{"code": "heartburn"}', b'{"code": 7}', b"[]", b"{", b"[" * 60_000])
def test_the_status_decides_where_there_is_no_code_that_exists(raw_server: Start, content: bytes) -> None:
    outcome = upload_to(raw_server(answer(http(500, content))).url)
    assert (outcome.action, status_of(outcome), outcome.fault) == (Action.RETRY, 500, True)


def test_an_error_in_the_server_is_a_fault(connect_server: ConnectServer, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(request: Request) -> None:
        raise KeyError("a bug")

    connect_server.respond = fail
    outcome = upload_to(connect_server.url)
    assert (outcome.action, status_of(outcome), outcome.fault) == (Action.RETRY, 500, True)


UNHEARD_OF = [103, 201, 202, 204, 206, 402, 406, 407, 409, 410, 431, 451, 600]
STATUSES = {
    Action.RETRY: [408, 425, 429, 499, 500, 502, 503, 504, 505, 507, 508, 511, 599],
    Action.HOLD: [401, 403, 404, 405, 415, 501, 300, 301, 302, 303, 304, 307, 308, *UNHEARD_OF],
    Action.SPLIT: [413],
    Action.ISOLATE: [400, 422],
}


@pytest.mark.parametrize(("action", "status"), [(action, each) for action in STATUSES for each in STATUSES[action]])
def test_the_status_of_a_proxys_page_decides(raw_server: Start, action: Action, status: int) -> None:
    page = b"" if status in {103, 204, 304} else HTML
    server = raw_server(answer(http(status, page, "text/html")))
    outcome = upload_to(server.url)
    assert (outcome.action, status_of(outcome), outcome.fault) == (action, status, status == 500)
    assert len(server.requests) == 1


def test_a_service_at_another_path_holds(connect_server: ConnectServer) -> None:
    outcome = upload_to(f"{connect_server.url}/elsewhere")
    assert (outcome.action, status_of(outcome)) == (Action.HOLD, 404)


@pytest.mark.parametrize(
    ("given", "action"),
    [
        (http(200, b"{}", "Application/JSON; charset=utf-8"), Action.SENT),
        (http(200, b'{"anything": 1}'), Action.SENT),
        (http(200, b"{}", "application/proto"), Action.HOLD),
        (http(200, HTML, "text/html"), Action.HOLD),
        (http(200, b"{}", content_type=None), Action.HOLD),  # type: ignore[arg-type]
        (http(200, b"[]"), Action.HOLD),
        (http(200, b'"OK"'), Action.HOLD),
        (http(200, b"{" + b" " * 70_000 + b"}"), Action.HOLD),
        (http(200, b"{}" + b" " * 3_000_000, content_length=None), Action.HOLD),
        (http(200, b"{}", content_length=1), Action.RETRY),
        (http(200, b"{}", content_length=200), Action.RETRY),
        (http(200, b"{", content_length=None), Action.RETRY),
        (http(200, b"", content_length=None), Action.RETRY),
        (http(200, b"5\r\n{", content_length=None, transfer_encoding="chunked"), Action.RETRY),
        (http(200, b"XYZ\r\n{}\r\n", content_length=None, transfer_encoding="chunked"), Action.RETRY),
        (http(200, b"2\r\n{}\r\n0\r\n\r\n", content_length=None, transfer_encoding="chunked"), Action.SENT),
        (http(200, b"not gzip", content_encoding="gzip"), Action.RETRY),
    ],
)
def test_only_a_whole_json_object_is_a_delivery(raw_server: Start, given: bytes, action: Action) -> None:
    outcome = upload_to(raw_server(answer_and_close(given)).url)
    assert (outcome.action, status_of(outcome)) == (action, None if action is Action.SENT else 200)


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"\r\n",
        b"HTTP/1.1",
        b"HTTP/1.1 400",
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_no_answer_or_half_an_answer_is_retried(raw_server: Start, given: bytes) -> None:
    outcome = upload_to(raw_server(answer_and_close(given)).url)
    assert (outcome.action, status_of(outcome)) == (Action.RETRY, 0)


@pytest.mark.parametrize("reads", [True, False])
def test_a_reset_is_retried(raw_server: Start, reads: bool) -> None:
    outcome = upload_to(raw_server(reset, reads=reads).url)
    assert (outcome.action, status_of(outcome), outcome.fault) == (Action.RETRY, 0, False)


def test_a_refused_connection_is_retried() -> None:
    url = unreachable()
    outcome = upload_to(url)
    assert (outcome.action, status_of(outcome)) == (Action.RETRY, 0)
    assert text_of(outcome).startswith(f"no response from {url}: [Errno ")


def test_a_cut_off_refusal_is_no_refusal(raw_server: Start) -> None:
    outcome = upload_to(raw_server(answer_and_close(http(400, b'{"code": "inv', content_length=99, retry_after=4))).url)
    assert (outcome.action, status_of(outcome), outcome.retry_after) == (Action.RETRY, 400, 4.0)


def test_a_redirect_is_not_followed(raw_server: Start) -> None:
    elsewhere = raw_server(answer(OK))
    server = raw_server(answer(http(307, HTML, "text/html", location=f"{elsewhere.url}/login")))
    outcome = upload_to(server.url)
    assert (outcome.action, status_of(outcome)) == (Action.HOLD, 307)
    assert f"{elsewhere.url}/login" in text_of(outcome)
    assert elsewhere.connections == 0


@pytest.mark.parametrize("events", [encoded(event(content="x" * 900)), MANY], ids=["plain", "compressed"])
def test_a_request_that_is_too_large_is_split(events: list[bytes]) -> None:
    with ConnectServer(read_max_bytes=800) as server:
        outcome = upload_to(server.url, events)
    assert (outcome.action, status_of(outcome)) == (Action.SPLIT, 429)
    assert text_of(outcome) == "message is larger than configured max 800"


def test_a_quota_is_no_size(connect_server: ConnectServer) -> None:
    connect_server.respond = refuse(Code.RESOURCE_EXHAUSTED, "quota exceeded")
    assert upload_to(connect_server.url).action is Action.RETRY


def test_a_giant_refusal_is_judged_by_its_status(raw_server: Start) -> None:
    outcome = upload_to(raw_server(answer(http(422, b'{"message": "' + b"x" * 10_000_000 + b'"}'))).url)
    assert (outcome.action, status_of(outcome)) == (Action.ISOLATE, 422)
    assert len(text_of(outcome)) <= 500


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "86400"}, 600.0),
        ({"retry_after": "9" * 5000}, 600.0),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after": "nan"}, 0.0),
        ({"retry_after": "soon"}, 0.0),
        ({"retry_after": "Mon, 23 Nov 2026 09:47:32 GMT", "date": "Mon, 23 Nov 2026 09:47:02 GMT"}, 30.0),
        ({"retry_after": "Mon, 23 Nov 2026 09:47:32 GMT", "date": "Tue, 24 Nov 2026 09:47:02 GMT"}, 0.0),
        ({"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 600.0),
        ({"retry_after": "Mon, 23 Nov 1970 09:47:32"}, 0.0),
        ({}, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(raw_server: Start, headers: dict[str, str], seconds: float) -> None:
    assert upload_to(raw_server(answer(http(503, **headers))).url).retry_after == seconds


def test_retry_after_of_a_connect_server_is_read(connect_server: ConnectServer) -> None:
    def respond(request: Request) -> None:
        request.response_headers["retry-after"] = "12"
        raise ConnectError(Code.UNAVAILABLE, "later")

    connect_server.respond = respond
    assert upload_to(connect_server.url).retry_after == 12.0


@pytest.mark.parametrize("status", [401, 400, 307, 200])
def test_the_key_is_masked_where_the_server_echoes_it(raw_server: Start, status: int) -> None:
    page = http(status, f"Bearer {KEY} is no good".encode(), "text/plain", location=f"http://u:{KEY}@x/?key={KEY}")
    text = text_of(upload_to(raw_server(answer(page)).url))
    assert KEY not in text
    assert "Bearer *** is no good" in text


def test_an_error_has_no_control_characters(raw_server: Start) -> None:
    text = text_of(upload_to(raw_server(answer(http(400, b'{"message": "\\u001b[31m red \\ud800 \\n"}'))).url))
    assert text == r"\x1b[31m red \ud800 \n"


def test_a_batch_refused_before_it_is_read_is_split(raw_server: Start) -> None:
    def refuse_and_discard(conn: socket.socket, request: bytes, n: int) -> None:
        conn.sendall(http(413, HTML, "text/html", connection="close"))
        conn.shutdown(socket.SHUT_WR)
        while conn.recv(65536):
            pass

    outcome = upload_to(raw_server(refuse_and_discard, reads=False).url, huge())
    assert (outcome.action, status_of(outcome)) == (Action.SPLIT, 413)
