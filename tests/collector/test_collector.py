"""The collector over real connections: its answers, its memory, stops and restarts."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from alignai._events import schemas, wire
from alignai.collector.collector import Collector, Counts, Delivery, main
from alignai.constants import COLLECT_EVENTS_PATH as PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 20_000
JSON = {"Content-Type": "application/json"}


def an_event(event_id: str, content: str = "Hello") -> dict[str, Any]:
    arguments = {"session_id": "s", "message_index": 1, "role": "user", "content": content}
    checked = schemas.load("create_message", arguments)
    now = datetime(2026, 11, 23, 9, 47, tzinfo=UTC)
    return wire.build("create_message", checked, project_id="p", event_id=event_id, now=now)


def a_body(*taken: object, request_id: object = "r1") -> bytes:
    return json.dumps({"requestId": request_id, "events": taken}).encode()


def connect(collector: Collector) -> http.client.HTTPConnection:
    address = urlsplit(collector.url)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)


def send(
    collector: Collector, body: bytes, headers: dict[str, str] | None = None, *, method: str = "POST", path: str = PATH
) -> tuple[int, dict[str, str]]:
    connection = connect(collector)
    try:
        connection.request(method, path, body, JSON | (headers or {}))
        answer = connection.getresponse()
        text = answer.read()
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(text) if method != "HEAD" else {}
    finally:
        connection.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector(max_request_bytes=LIMIT) as collector:
        yield collector


def test_a_valid_request_is_answered_with_an_empty_object_and_kept(collector: Collector) -> None:
    one, two = an_event("e1"), an_event("e2", "Grüße 👋🏽")

    assert send(collector, a_body(one, two)) == (200, {})
    assert collector.received == (Delivery("r1", "e1", one), Delivery("r1", "e2", two))
    assert collector.counts == Counts(1, 0, 2, 0, 0)


def test_a_gzipped_request_is_taken(collector: Collector) -> None:
    body = gzip.compress(a_body(an_event("e1")))

    assert send(collector, body, {"Content-Encoding": "gzip"}) == (200, {})
    assert [delivery.event_id for delivery in collector.received] == ["e1"]


def test_a_charset_behind_the_content_type_is_fine(collector: Collector) -> None:
    assert send(collector, a_body(an_event("e1")), {"Content-Type": "application/json; charset=utf-8"}) == (200, {})


def test_repeats_are_kept_and_recognised_by_event_id_and_request_id(collector: Collector) -> None:
    send(collector, a_body(an_event("e1"), an_event("e2")))
    send(collector, a_body(an_event("e1"), an_event("e2")))
    send(collector, a_body(an_event("e2"), an_event("e3"), request_id="r2"))

    assert [delivery.event_id for delivery in collector.received] == ["e1", "e2", "e1", "e2", "e2", "e3"]
    assert collector.counts == Counts(requests=3, refused=0, events=6, repeated_requests=1, repeated_events=3)


def test_an_event_twice_in_one_request_is_a_repeat(collector: Collector) -> None:
    send(collector, a_body(an_event("e1"), an_event("e1")))

    assert collector.counts.repeated_events == 1


@pytest.mark.parametrize(
    ("body", "headers", "path", "expected"),
    [
        (a_body(an_event("e1")), {}, "/elsewhere", (404, "unimplemented")),
        (a_body(an_event("e1")), {"Content-Type": "application/proto"}, PATH, (415, "unimplemented")),
        (a_body(an_event("e1")), {"Content-Encoding": "br"}, PATH, (501, "unimplemented")),
        (a_body(an_event("e1")), {"Content-Encoding": "gzip"}, PATH, (400, "invalid_argument")),
        (gzip.compress(a_body(an_event("e1")))[:-4], {"Content-Encoding": "gzip"}, PATH, (400, "invalid_argument")),
        (gzip.compress(a_body(an_event("e1"))) + b"x", {"Content-Encoding": "gzip"}, PATH, (400, "invalid_argument")),
        (gzip.compress(b" " * 50_000_000), {"Content-Encoding": "gzip"}, PATH, (429, "resource_exhausted")),
        (b"x" * 5_000_000, {}, PATH, (429, "resource_exhausted")),
        (b"", {}, PATH, (400, "invalid_argument")),
        (b"{", {}, PATH, (400, "invalid_argument")),
        (b"[" * LIMIT, {}, PATH, (400, "invalid_argument")),
        ("{}".encode("utf-16"), {}, PATH, (400, "invalid_argument")),
        (b"[]", {}, PATH, (400, "invalid_argument")),
        (b'{"requestId": "r1"}', {}, PATH, (400, "invalid_argument")),
        (a_body(an_event("e1"), request_id=7), {}, PATH, (400, "invalid_argument")),
        (a_body(an_event("e1"), request_id="x" * 37), {}, PATH, (400, "invalid_argument")),
        (a_body(an_event("e1"), request_id="line\nbreak"), {}, PATH, (400, "invalid_argument")),
        (a_body(), {}, PATH, (400, "invalid_argument")),
        (b'{"requestId": "r1", "events": {}}', {}, PATH, (400, "invalid_argument")),
    ],
    ids=[
        "another path", "another content type", "another compression", "not gzip", "gzip cut off", "gzip and more",
        "a gzip bomb", "too large", "empty", "not JSON", "deep JSON", "not UTF-8", "no object", "no events",
        "request id no text", "request id too long", "request id not printable", "not one event", "events no list",
    ],
)  # fmt: skip
def test_a_bad_request_is_answered_as_connect_does_and_not_taken(
    collector: Collector, body: bytes, headers: dict[str, str], path: str, expected: tuple[int, str]
) -> None:
    status, answer = send(collector, body, headers, path=path)

    assert (status, answer["code"]) == expected
    assert collector.received == ()
    assert collector.counts == Counts(0, 1, 0, 0, 0)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_another_method_is_not_allowed(collector: Collector, method: str) -> None:
    assert send(collector, b"", method=method)[0] == 405
    assert send(collector, b"", method=method, path="/")[0] == 404


def test_an_unknown_method_is_answered_in_json_too(collector: Collector) -> None:
    status, answer = send(collector, b"", method="BREW")

    assert (status, answer["code"]) == (501, "unimplemented")


def test_an_oversize_request_is_named_as_connect_servers_name_it(collector: Collector) -> None:
    _, answer = send(collector, b"x" * (LIMIT + 1))

    assert {
        "code": "resource_exhausted",
        "message": f"message size {LIMIT + 1} is larger than configured max {LIMIT}",
    } == answer


def test_every_bad_event_is_named_and_its_whole_request_refused(collector: Collector) -> None:
    no_content = an_event("e3")
    no_content["properties"]["messageProperties"]["messageContent"] = ""

    status, answer = send(collector, a_body(an_event("e1"), 7, an_event("e2"), no_content))

    assert (status, answer["code"]) == (400, "invalid_argument")
    assert "events[1]: " in answer["message"]
    assert "events[3]: " in answer["message"]
    assert "events[0]" not in answer["message"]
    assert collector.received == ()


def test_many_bad_events_do_not_make_a_giant_answer(collector: Collector) -> None:
    _, answer = send(collector, a_body(*range(3000)))

    assert answer["message"].count("events[") == 20


@pytest.mark.parametrize("shown", [{}, {"Authorization": "Bearer other"}, {"Authorization": "Bearer kéy"}])
def test_a_missing_or_wrong_key_is_refused(shown: dict[str, str]) -> None:
    with Collector(api_key="key") as collector:
        status, answer = send(collector, a_body(an_event("e1")), shown)

    assert (status, answer["code"]) == (401, "unauthenticated")
    assert collector.received == ()


def test_the_right_key_is_taken() -> None:
    with Collector(api_key="key") as collector:
        assert send(collector, a_body(an_event("e1")), {"Authorization": "Bearer key"}) == (200, {})


def test_a_request_without_a_length_is_refused_and_its_connection_closed(collector: Collector) -> None:
    connection = connect(collector)
    connection.putrequest("POST", PATH)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    answer = connection.getresponse()
    code = json.loads(answer.read())["code"]
    connection.close()

    assert (answer.status, answer.headers["Connection"], code) == (411, "close", "invalid_argument")


def test_a_connection_serves_many_requests_whatever_their_answers(collector: Collector) -> None:
    connection = connect(collector)
    statuses = []
    for body in (a_body(an_event("e1")), b"{", b"x" * (LIMIT * 9), a_body(an_event("e2"))):
        connection.request("POST", PATH, body, JSON)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()

    assert statuses == [200, 400, 429, 200]


def test_half_a_request_is_not_taken(collector: Collector) -> None:
    address = urlsplit(collector.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as half:
        head = f"POST {PATH} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        half.sendall(head.encode() + b'{"requestId"')
        half.shutdown(socket.SHUT_WR)

        assert half.recv(1) == b""
    assert collector.counts == Counts(0, 0, 0, 0, 0)


def test_a_stop_cuts_live_connections_and_refuses_new_ones(collector: Collector) -> None:
    connection = connect(collector)
    connection.request("POST", PATH, a_body(an_event("e1")), JSON)
    connection.getresponse().read()
    live = connection.sock

    collector.stop()

    assert live.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        send(collector, a_body(an_event("e2")))
    connection.close()


def test_a_stop_cuts_a_connection_in_the_middle_of_a_request(collector: Collector) -> None:
    address = urlsplit(collector.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as half:
        head = f"POST {PATH} HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
        half.sendall(head.encode())
        assert half.recv(100).startswith(b"HTTP/1.1 100")  # now it waits for the body

        collector.stop()

        assert half.recv(1) == b""
    assert collector.received == ()


def test_a_restart_keeps_the_port_and_what_was_received() -> None:
    collector = Collector()
    with collector:
        send(collector, a_body(an_event("e1")))
        first = collector.url
    with collector:
        send(collector, a_body(an_event("e1"), an_event("e2"), request_id="r2"))

    assert first == collector.url
    assert [delivery.event_id for delivery in collector.received] == ["e1", "e1", "e2"]
    assert collector.counts.repeated_events == 1


def test_starting_and_stopping_twice_is_the_same_as_once() -> None:
    collector = Collector()
    collector.start()
    url = collector.url
    collector.start()

    assert url == collector.url
    collector.stop()
    collector.stop()


def test_no_thread_outlives_a_stop(collector: Collector) -> None:
    before = threading.active_count()
    with Collector() as other:
        connections = [connect(other) for _ in range(5)]
        for connection in connections:
            connection.request("POST", PATH, a_body(an_event("e1")), JSON)
            connection.getresponse().read()
    for connection in connections:
        connection.close()

    assert before == threading.active_count()


def test_the_report_says_what_came_without_contents_or_keys() -> None:
    lines: list[str] = []
    with Collector(api_key="secret-key", report=lines.append) as collector:
        shown = {"Authorization": "Bearer secret-key"}
        send(collector, a_body(an_event("e1", "private")), shown)
        send(collector, a_body(an_event("e1", "private")), shown)
        send(collector, b"private", shown)

    assert lines == [
        "taken: 1 events, 0 of them again, request r1",
        "taken: 1 events, 1 of them again, request r1",
        "refused: 400 invalid_argument",
    ]
    assert "secret-key" not in repr(collector)


def test_the_command_serves_until_interrupted() -> None:
    command = [sys.executable, "-m", "alignai.collector", "--api-key-from-env"]
    environment = os.environ | {"ALIGNAI_API_KEY": "key"}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored if tests run in the background
    try:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[2]
        there = Collector(int(url.rpartition(":")[2]))
        status, _ = send(there, a_body(an_event("e1")), {"Authorization": "Bearer key"})
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert (status, process.returncode) == (200, 0)
    assert line == "taken: 1 events, 0 of them again, request r1\n"
    assert rest == "Counts(requests=1, refused=0, events=1, repeated_requests=0, repeated_events=0)\n"


def test_the_command_requires_the_configured_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ALIGNAI_API_KEY", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["--api-key-from-env"])

    assert ended.value.code == 2
    assert "ALIGNAI_API_KEY is not set" in capsys.readouterr().err
