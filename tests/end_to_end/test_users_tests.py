"""The SDK in the tests of its users: beside tools that stop the clock, or take the place of the network."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock, patch

import pytest
import requests
import requests_mock
import responses
from freezegun import freeze_time

from alignai.constants import COLLECT_EVENTS_PATH
from tests.support.clients import ROOT, client, finished, record
from tests.support.uploads import unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer

STOPPED = "2024-02-29T12:00:00Z"
LONG = 30.0
"""Seconds that are over only if a wait of a second does not end by itself."""


def real_clock() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def test_deadlines_hold_while_the_clock_is_stopped(spool_path: Path) -> None:
    with freeze_time(STOPPED):
        began = real_clock()
        sdk = client(unreachable(), spool_path)
        record(sdk, 2)
        assert sdk.flush(1).remaining == 2
        sdk.close(0.5)
    assert 1.5 <= real_clock() - began < LONG


def test_events_of_a_stopped_clock_bear_its_time_and_arrive(connect_server: ConnectServer, spool_path: Path) -> None:
    with freeze_time(STOPPED), client(connect_server.url, spool_path) as sdk:
        record(sdk, 1)
        sdk.identify_user("u1", create_time=datetime(2023, 1, 1, tzinfo=UTC))
        assert sdk.flush()
    assert [event["createTime"] for event in connect_server.events()] == [STOPPED] * 2


IMPORTED_WHILE_STOPPED = """
import time
import pytest
import requests
import requests_mock
import responses
from freezegun import freeze_time
from unittest.mock import MagicMock, patch
from contextlib import contextmanager
from alignai.constants import COLLECT_EVENTS_PATH

with freeze_time("2024-02-29T12:00:00Z"):
    from alignai import AlignAI

    sdk = AlignAI()
    sdk.close_session("s1")
    assert sdk.flush(0.2).remaining == 1
assert sdk.flush(0.2).remaining == 1
sdk.close(0.2)
"""


def test_the_sdk_may_be_imported_while_the_clock_is_stopped(spool_path: Path) -> None:
    finished(IMPORTED_WHILE_STOPPED, unreachable(), spool_path, timeout=LONG)


# -- tools that take the place of the network --------------------------------------------------------------------------


@contextmanager
def by_responses(url: str) -> Iterator[None]:
    with responses.RequestsMock() as mock:
        mock.add(responses.POST, url, json={})
        yield


@contextmanager
def by_requests_mock(url: str) -> Iterator[None]:
    with requests_mock.Mocker() as mock:
        mock.post(url, json={})
        yield
        assert mock.called


def in_place_of(target: str) -> Callable[[str], AbstractContextManager[object]]:
    response = MagicMock(status_code=200)
    return lambda url: patch(target, return_value=response)


def autospecced(url: str) -> AbstractContextManager[object]:
    response = requests.Response()
    response.status_code = 200
    response.headers["Content-Type"] = "application/json"
    response._content = b"{}"
    return patch("requests.adapters.HTTPAdapter.send", autospec=True, return_value=response)


@contextmanager
def instead_of_sessions(url: str) -> Iterator[None]:
    with patch("requests.Session") as session:
        session.return_value.post.return_value.status_code = 200
        yield


TOOLS = {
    "responses": by_responses,
    "requests_mock": by_requests_mock,
    "requests.post": in_place_of("requests.post"),
    "requests.request": in_place_of("requests.request"),
    "Session.post": in_place_of("requests.Session.post"),
    "Session.request": in_place_of("requests.sessions.Session.request"),
    "Session.send": in_place_of("requests.Session.send"),
    "HTTPAdapter.send": autospecced,
    "Session": instead_of_sessions,
}
tools = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
Tool = Callable[[str], AbstractContextManager[object]]


@tools
def test_an_upload_goes_through_what_a_test_tool_replaces(
    connect_server: ConnectServer, spool_path: Path, tool: Tool
) -> None:
    with client(connect_server.url, spool_path) as sdk:
        before = record(sdk, 1)
        assert sdk.flush()  # a connection is open from now on
        with tool(connect_server.url + COLLECT_EVENTS_PATH):
            record(sdk, 1)
            assert sdk.flush()
        after = record(sdk, 1)
        assert sdk.flush()
    assert connect_server.ids() == before + after


@tools
def test_a_client_made_beside_a_tool_does_not_stay_bound_to_it(
    connect_server: ConnectServer, spool_path: Path, tool: Tool
) -> None:
    with tool(connect_server.url + COLLECT_EVENTS_PATH):
        sdk = client(connect_server.url, spool_path)
        record(sdk, 1)
        assert sdk.flush()
    with sdk:
        after = record(sdk, 1)
        assert sdk.flush()
    assert connect_server.ids() == after


FIRST_MADE_BESIDE_A_TOOL = """
import sys
from unittest.mock import patch
import requests, urllib3.connection, urllib3.connectionpool
from alignai import AlignAI

with patch(sys.argv[1]):
    sdk = AlignAI()
    sdk.close_session("s1")
    sdk.flush(0.2)
print(sdk.close_session("s2"))
assert sdk.flush(20)
sdk.close()
"""


@pytest.mark.parametrize(
    "target",
    [
        "requests.adapters.HTTPAdapter",
        "requests.adapters.PoolManager",
        "requests.Session",
        "urllib3.connection.HTTPConnection",
        "urllib3.connectionpool.HTTPConnectionPool.ConnectionCls",
    ],
)
def test_a_program_whose_first_client_is_made_beside_a_tool_uploads_later(
    connect_server: ConnectServer, spool_path: Path, target: str
) -> None:
    later = finished(FIRST_MADE_BESIDE_A_TOOL, connect_server.url, spool_path, target).strip()

    assert later in connect_server.ids()


def test_an_event_that_no_mock_expects_is_neither_sent_nor_lost(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    with client(connect_server.url, spool_path) as sdk:
        with responses.RequestsMock():
            ids = record(sdk, 1)
            assert sdk.flush(0.2).remaining == 1
        assert connect_server.requests == []
        assert sdk.flush()
    assert connect_server.ids() == ids


@pytest.mark.parametrize("raised", [RuntimeError("no network in tests"), OSError("no network in tests")])
def test_whatever_a_mock_raises_ends_the_attempt(
    connect_server: ConnectServer, spool_path: Path, raised: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with client(connect_server.url, spool_path) as sdk:
        with patch("requests.Session.send", side_effect=raised):
            ids = record(sdk, 1)
            assert sdk.flush(0.5).remaining == 1
        assert "no network in tests" in caplog.text
        assert sdk.flush()
    assert connect_server.ids() == ids


def test_a_connection_from_before_sockets_are_replaced_is_not_used(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    with client(connect_server.url, spool_path) as sdk:
        before = record(sdk, 1)
        assert sdk.flush()
        with patch("socket.getaddrinfo", side_effect=OSError("no network in tests")):
            after = record(sdk, 1)
            assert sdk.flush(0.5).remaining == 1
        assert connect_server.ids() == before
        assert sdk.flush()
    assert connect_server.ids() == before + after


def test_readmes_test_of_an_application_passes(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").split("## For your own tests")[1]
    names: dict[str, Any] = {}
    exec(readme.split("```python")[1].split("```")[0], names)

    names["test_a_session_is_recorded"](tmp_path)
