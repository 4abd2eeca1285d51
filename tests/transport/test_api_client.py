"""The request of the API client, and the secrets that it keeps."""

from __future__ import annotations

import gzip
import json
import math
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignai._transport.api_client import Action, APIClient, Outcome
from alignai._transport.outcome import classify
from alignai._transport.response import BodyStatus, Response
from alignai._version import __version__
from alignai.deadline import Deadline
from tests.support.servers.raw import OK, RawServer, answer, answer_and_close, body, gone, header, http
from tests.support.uploads import KEY, MANY, ONE, REQUEST_ID, encoded, event, unreachable, upload, upload_to

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.support.servers.connect import ConnectServer

    Start = Callable[..., RawServer]
    Make = Callable[[str], APIClient]


def received(server: RawServer, events: list[bytes]) -> bytes:
    upload_to(server.url, events)
    return server.requests[-1]


def test_a_small_body_is_the_events_joined(raw_server: Start) -> None:
    two = encoded(event(0), event(1))
    request = received(raw_server(answer(OK)), two)
    assert body(request) == b'{"requestId":"%s","events":[%s,%s]}' % (REQUEST_ID.encode(), *two)
    assert header(request, "content-encoding") is None


def test_a_body_over_a_kibibyte_is_compressed(raw_server: Start) -> None:
    request = received(raw_server(answer(OK)), MANY)
    assert header(request, "content-encoding") == "gzip"
    assert json.loads(gzip.decompress(body(request))) == {
        "requestId": REQUEST_ID,
        "events": [event(number) for number in range(20)],
    }


def test_a_batch_sent_again_is_the_same_but_for_compression(raw_server: Start, make_client: Make) -> None:
    server = raw_server(answer(http(503, retry_after=1), http(503), OK))
    client = make_client(server.url)
    actions = [upload(client, MANY).action for _ in range(3)]
    assert actions == [Action.RETRY, Action.RETRY, Action.SENT]
    first, second, third = map(body, server.requests)
    assert gzip.decompress(first) == second == gzip.decompress(third)


def test_the_request_is_as_connect_wants_it(raw_server: Start) -> None:
    request = received(raw_server(answer(OK)), ONE)
    names = ["content-type", "connect-protocol-version", "authorization", "user-agent"]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert request.startswith(b"POST /ingestion.v1alpha.IngestionService/CollectEvents HTTP/1.1\r\n")
    assert [header(request, name) for name in names] == [
        "application/json",
        "1",
        f"Bearer {KEY}",
        f"alignai/{__version__} Python/{version}",
    ]


@pytest.mark.parametrize(("seconds", "most"), [(25.0, 25_000), (math.inf, 86_400_000)])
def test_the_request_names_its_timeout(raw_server: Start, seconds: float, most: int) -> None:
    server = raw_server(answer(OK))
    upload_to(server.url, ONE, seconds)
    told = header(server.requests[0], "connect-timeout-ms")
    assert told is not None
    assert 1 <= int(told) <= most


def test_an_endless_deadline_can_be_met(connect_server: ConnectServer, make_client: Make) -> None:
    outcome = make_client(connect_server.url).upload(REQUEST_ID, ONE, Deadline.never())
    assert outcome == Outcome(Action.SENT, None)


def test_uploads_share_a_connection_until_one_fails(raw_server: Start, make_client: Make) -> None:
    server = raw_server(answer(OK, OK, http(400, b"{}"), OK, OK))
    client = make_client(server.url)
    seen = [(upload(client).action, server.connections) for _ in range(5)]
    sent = Action.SENT
    assert seen == [(sent, 1), (sent, 1), (Action.ISOLATE, 1), (sent, 2), (sent, 2)]


def test_an_idle_connection_that_the_server_closed_is_replaced(
    connect_server: ConnectServer, make_client: Make
) -> None:
    client = make_client(connect_server.url)
    actions = [upload(client).action]
    connect_server.restart()
    actions.append(upload(client).action)
    assert actions == [Action.SENT, Action.SENT]


def test_a_host_may_end_in_a_slash(connect_server: ConnectServer) -> None:
    assert upload_to(f"{connect_server.url}/").action is Action.SENT


def test_a_client_works_after_it_is_closed(connect_server: ConnectServer, make_client: Make) -> None:
    client = make_client(connect_server.url)
    client.close()
    client.close()
    assert upload(client).action is Action.SENT


def test_the_key_is_not_in_the_repr() -> None:
    assert repr(APIClient("https://api.impaction.ai", KEY)) == (
        "APIClient(api_host='https://api.impaction.ai', api_key='***')"
    )


def test_the_key_is_not_in_an_outcome(raw_server: Start) -> None:
    echo = http(401, f"no such key: {KEY}".encode(), "text/plain")
    outcomes = [upload_to(raw_server(answer(echo)).url), upload_to(unreachable()), upload_to(f"http://{KEY}@/")]
    assert not any(KEY in repr(outcome) for outcome in outcomes)
    assert not any(KEY.encode() in pickle.dumps(outcome) for outcome in outcomes)


def test_an_outcome_survives_pickling(raw_server: Start) -> None:
    outcome = upload_to(raw_server(answer(http(503, b"", retry_after=3))).url)
    copy = pickle.loads(pickle.dumps(outcome))
    assert (copy.action, copy.error.status_code, copy.retry_after) == (Action.RETRY, 503, 3.0)


def test_a_key_that_cannot_be_sent_holds_and_is_not_shown(connect_server: ConnectServer) -> None:
    client = APIClient(connect_server.url, "top\nsecret")
    outcome = upload(client)
    client.close()
    assert (outcome.action, "secret" in str(outcome.error)) == (Action.HOLD, False)


HEADERS = st.dictionaries(st.sampled_from(["content-type", "retry-after", "date", "location"]), st.text(max_size=30))
OBJECTS = st.dictionaries(st.sampled_from(["code", "message"]), st.text()).map(json.dumps).map(str.encode)
ANSWERS = st.builds(
    Response,
    status=st.integers(100, 999),
    reason=st.text(max_size=20),
    headers=HEADERS | st.just({"content-type": "application/json"}),
    body=st.binary(max_size=100) | OBJECTS,
    body_status=st.sampled_from(BodyStatus),
)


@given(ANSWERS)
def test_every_response_has_an_outcome(answered: Response) -> None:
    outcome = classify(answered, KEY)
    assert (outcome.error is None) == (outcome.action is Action.SENT)
    assert 0 <= outcome.retry_after <= 600
    assert outcome.error is None or (len(outcome.error.err_msg) <= 500 and outcome.error.err_msg.isprintable())


PIECES = [
    *(b"HTTP/1.1 ", b"200 OK\r\n", b"100 Continue\r\n", b"\r\n", b"\r\n\r\n", b": ", b"{", b"5", b"-1"),
    *(b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\n"),
    *(b"Content-Type: application/json\r\n", b"Connection: close\r\n", b"Retry-After: "),
]
GARBAGE = st.lists(st.sampled_from(PIECES) | st.binary(max_size=10), max_size=12).map(b"".join)


def test_no_bytes_make_an_upload_raise() -> None:
    with RawServer(answer_and_close(b"")) as server:

        @given(GARBAGE)
        @settings(max_examples=200, deadline=None)
        def holds(data: bytes) -> None:
            server.script = answer_and_close(data)
            assert upload_to(server.url).action in Action

        holds()


def run(script: str, url: str) -> str:
    start = (
        "import os, sys\nfrom alignai._transport.api_client import APIClient\nfrom alignai.deadline import Deadline\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + script, url], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_a_forked_child_has_a_connection_of_its_own(raw_server: Start) -> None:
    server = raw_server(answer(OK))
    script = """
client = APIClient(sys.argv[1], "KEY")
def upload(): print(client.upload("R", [b"{}"], Deadline.after(20)).action.name, flush=True)
upload()
if (child := os.fork()) == 0:
    client.cancel()
    upload()
    client.close()
    os._exit(0)
os.waitpid(child, 0)
upload()
"""
    assert run(script, server.url).split() == ["SENT"] * 3
    assert server.connections == 2


def test_cancel_in_a_forked_child_does_not_reach_the_parents_upload(raw_server: Start) -> None:
    def slow(conn: socket.socket, request: bytes, n: int) -> None:
        if not gone(conn, within=1.0):
            conn.sendall(OK)

    script = """
import threading, time
client = APIClient(sys.argv[1], "KEY")
def upload(): print(client.upload("R", [b"{}"], Deadline.after(20)).action.name)
thread = threading.Thread(target=upload)
thread.start()
while client._transport._scope._tracked is None: time.sleep(0.001)
if (child := os.fork()) == 0:
    client.cancel()
    os._exit(0)
os.waitpid(child, 0)
thread.join()
"""
    assert run(script, raw_server(slow).url).split() == ["SENT"]


def test_an_upload_works_while_the_interpreter_exits(raw_server: Start) -> None:
    script = """
import atexit
client = APIClient(sys.argv[1], "KEY")
atexit.register(lambda: print(client.upload("R", [b"{}"], Deadline.after(20)).action.name))
"""
    assert run(script, raw_server(answer(OK)).url).split() == ["SENT"]
