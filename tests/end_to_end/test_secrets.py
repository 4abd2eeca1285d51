"""Secrets: the contents of events do not appear in logs and errors, the API key appears nowhere."""

from __future__ import annotations

import base64
import gc
import json
import logging
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignai import AlignAI, Config
from alignai._settings import resolve
from alignai._transport.outcome import classify
from alignai._transport.response import Response
from alignai.deadline import Deadline
from alignai.exception import ConfigError
from alignai.validate import ValidationError
from tests.support.clients import PROJECT, client, inspect, record
from tests.support.servers.raw import RawServer, Script, answer, answer_and_close, http
from tests.support.uploads import KEY, REQUEST_ID, unreachable
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from alignai._transport.api_client import APIClient
    from tests.support.servers.connect import ConnectServer

Start = Callable[..., RawServer]


# -- contents ----------------------------------------------------------------------------------------------------------

ANSI = "\x1b[2J\x1b]0;owned\x07\r\nERROR root: all is lost\x00\u202e\u2028"
SECRET = "correct horse battery staple"
SESSION = f"{SECRET} {ANSI}"[:64]


@pytest.mark.parametrize(
    "script", [answer(http(status, b'{"message":"no"}')) for status in (200, 302, 400, 401, 413, 429, 500)]
)
def test_no_recorded_contents_reach_any_log(
    raw_server: Start, spool_path: Path, caplog: pytest.LogCaptureFixture, script: Script
) -> None:
    """Not even if all libraries log at DEBUG level."""
    caplog.set_level(logging.DEBUG)
    with client(raw_server(script).url, spool_path, flush_timeout_seconds=0.3) as sdk:
        sdk.identify_user(SESSION, SESSION, f"{SECRET}@example.com", custom_properties={"k": SESSION})
        sdk.open_session(SESSION, SESSION, SESSION, {"k": SESSION}, session_title=SESSION)
        sdk.create_message(SESSION, 1, "user", f"{SESSION}{SECRET}")
        sdk.close_session(SESSION)
        sdk.flush(0.3)
        wait_until(lambda: bool(caplog.records))
    said = [f"{line.getMessage()} {vars(line)}" for line in caplog.records]
    assert [line for line in said if SECRET in line or "owned" in line or KEY in line] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"content": ["x", SECRET]},
        {"content": f"{SECRET}\ud800"},
        {"content": SECRET, "role": ANSI},
        {"content": SECRET, "session_id": ANSI * 9},
        {"content": SECRET, "custom_properties": {ANSI: SECRET * 20}},
        {"content": SECRET, "message_index": ANSI},
        {"content": SECRET, "event_id": ANSI},
        {"content": SECRET, "create_time": ANSI},
    ],
    ids=lambda wrong: list(wrong)[-1],
)
def test_an_error_shows_no_content_and_no_control_character(tmp_path: Path, wrong: dict[str, Any]) -> None:
    arguments = {"session_id": "s1", "message_index": 1, "role": "user", **wrong}
    with (
        client(unreachable(), tmp_path / "spool.db", flush_timeout_seconds=0) as sdk,
        pytest.raises(ValidationError) as caught,
    ):
        sdk.create_message(**arguments)
    told = str(caught.value)
    assert told.isprintable()
    assert SECRET not in told
    assert len(told) < 1000


# -- the key -----------------------------------------------------------------------------------------------------------

DISGUISES = {
    "plain": KEY.encode(),
    "base64": base64.b64encode(KEY.encode()),
    "quoted": quote(KEY, safe="").encode(),
    "hex": KEY.encode().hex().encode(),
    "UTF-16": KEY.encode("utf-16-le"),
}


def found_in(data: bytes) -> list[str]:
    """In which disguises the key is in there."""
    return [name for name, disguise in DISGUISES.items() if disguise in data]


def echo(conn: Any, request: bytes, n: int) -> None:
    """A server that says the key in every way, with another verdict each time."""
    status = (401, 503, 400, 302, 200)[n % 5]
    said = json.dumps({"message": f"{KEY} {quote(KEY, safe='')} Bearer {KEY}"}).encode()
    conn.sendall(http(status, said, location=f"https://x/?key={quote(KEY, safe='')}&k={KEY}"))


def test_the_key_is_in_no_file_no_log_and_no_report(
    raw_server: Start, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = raw_server(echo)
    with client(server.url, spool_path, flush_batch_size=1) as sdk:
        record(sdk, 10)
        wait_until(lambda: sdk.flush(0.1).remaining == 0)
        files = b"".join(each.read_bytes() for each in spool_path.parent.iterdir())
    files += b"".join(each.read_bytes() for each in spool_path.parent.iterdir())
    assert len(files) > 4096
    assert found_in(files) == []
    assert found_in(json.dumps(inspect(spool_path)).encode()) == []
    assert found_in("".join(f"{line.getMessage()} {vars(line)}" for line in caplog.records).encode()) == []


def test_no_object_of_the_sdk_shows_the_key(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path) as sdk:
        record(sdk, 1)
        assert sdk.flush(20)
        shown = [repr(each) for each in reached_from(sdk)]
    assert len(shown) > 20
    assert [text for text in shown if KEY in text] == []


def reached_from(start: object) -> list[object]:
    """Return every object that can be reached from one, except plain containers and texts."""
    seen: dict[int, object] = {}
    waiting = [start]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, (type, type(sys), type(reached_from))):
            continue
        seen[id(each)] = each
        waiting += gc.get_referents(each)
    ours = ("alignai", "requests", "urllib3", "filelock")
    return [each for each in seen.values() if type(each).__module__.partition(".")[0] in ours]


def test_the_key_is_in_no_traceback(tmp_path: Path, make_client: Callable[[str], APIClient]) -> None:
    bad = f"{KEY} with a space"
    shown = [
        raised(lambda: AlignAI(PROJECT, bad)),
        raised(lambda: AlignAI(PROJECT, KEY, "no address")),
        raised(lambda: AlignAI(PROJECT, KEY, f"http://{KEY}@example.com")),
        raised(lambda: AlignAI(PROJECT, KEY, config=Config(spool_path=tmp_path))),
        raised(lambda: posted(make_client(unreachable()), unreachable())),
        raised(lambda: posted(make_client(unreachable()), "http://[no address")),
    ]
    assert [text for text in shown if KEY in text] == []


def posted(api: APIClient, url: str) -> None:
    with api._transport.open(Deadline.after(5)):
        api._transport.post(url, b"", {})


def raised(call: Callable[[], object]) -> str:
    """Return all that Python would print of a call's exception, its causes and contexts included."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whichever it is
        return "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
    raise AssertionError("nothing was raised")


def test_an_upload_error_does_not_reference_the_request(make_client: Callable[[str], APIClient]) -> None:
    """Requests attaches the request with its headers to its exceptions."""
    outcome = make_client(unreachable()).upload(REQUEST_ID, [b"{}"], Deadline.after(5))
    assert outcome.error
    assert (outcome.error.__cause__, outcome.error.__context__) == (None, None)
    assert found_in(pickle.dumps(outcome)) == []


def test_the_key_is_in_no_pickle(tmp_path: Path) -> None:
    config = Config(spool_path=str(tmp_path / "spool.db"))
    assert found_in(pickle.dumps(config)) == []
    with (
        client(unreachable(), tmp_path / "spool.db", flush_timeout_seconds=0) as sdk,
        pytest.raises(TypeError) as caught,
    ):
        pickle.dumps(sdk)
    assert KEY not in str(caught.value)


def test_the_key_is_not_in_the_environment_of_other_programs(tmp_path: Path) -> None:
    before = dict(os.environ)
    with client(unreachable(), tmp_path / "spool.db", flush_timeout_seconds=0) as sdk:
        record(sdk, 1)
        assert dict(os.environ) == before


def test_an_address_that_does_not_serve_is_not_shown_with_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(PROJECT, KEY, f"https://user:{KEY}@example.com", None, {})
    assert KEY not in str(caught.value)


@given(key=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=80))
def test_no_key_is_shown_if_the_server_echoes_it(key: str) -> None:
    said = json.dumps({"message": f"{key} {quote(key, safe='')} {key.lower()}"}).encode()
    headers = {"content-type": "application/json", "location": f"/{key}?{quote(key)}"}
    told = str(classify(Response(401, "", headers, said), key).error)
    assert told == (
        "HTTP 401: *** *** ***; redirects are not followed, the key would go along: /***?***; check the API key"
    )


def test_a_response_header_that_cannot_be_parsed_is_not_logged(
    raw_server: Start, make_client: Callable[[str], APIClient], caplog: pytest.LogCaptureFixture
) -> None:
    """The server could echo the key in it, and urllib3 would log all of it."""
    caplog.set_level(logging.DEBUG)
    server = raw_server(answer_and_close(http(200, b"{}").replace(b"\r\n", f"\r\nno header {KEY}\r\n".encode(), 1)))
    make_client(server.url).upload(REQUEST_ID, [b"{}"], Deadline.after(10))
    assert len(server.requests) == 1
    assert found_in(caplog.text.encode()) == []
