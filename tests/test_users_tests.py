"""The SDK in the tests of its users: beside tools that stop the clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from freezegun import freeze_time

from tests.clients import client, finished, record
from tests.uploads import unreachable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.connect import ConnectServer

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
from freezegun import freeze_time

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
