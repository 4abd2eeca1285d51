"""The log lines of an outage: its start, a line at growing intervals, and its end."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from hypothesis import given
from hypothesis import strategies as st

from alignai._delivery.outage import FIRST_INTERVAL, MAX_INTERVAL, Outage
from tests.delivery.test_uploader import messages, uploads
from tests.support.clients import client, record
from tests.support.servers.connect import refuse
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.support.servers.connect import ConnectServer, Request

SPOOL = Path("/spools/spool.db")
DAY = 24 * 60 * 60


class Log:
    """An outage by a clock of the test's, and the lines that it logs, with their times."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lines: list[tuple[float, str, str]] = []
        self.outage = Outage(SPOOL, lambda: 17, lambda: self.now)

    def fail(self, kind: str = "retry", *, after: float = 0.0) -> None:
        self.now += after
        self.outage.failed(kind, f"cannot deliver: {kind}")

    def succeed(self, *, after: float = 0.0) -> None:
        self.now += after
        self.outage.ended()

    def of(self, level: str) -> list[float]:
        return [at for at, each, _ in self.lines if each == level]


@contextmanager
def logged() -> Iterator[Log]:
    log = Log()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.lines.append((log.now, record.levelname, record.getMessage()))

    logger = logging.getLogger("alignai")
    level, handler = logger.level, Handler()
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        yield log
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_an_outage_is_logged_at_its_start_ever_more_rarely_and_at_its_end() -> None:
    with logged() as log:
        for _ in range(DAY // 10):
            log.fail(after=10)
        log.succeed(after=10)
    gaps = [later - earlier for earlier, later in pairwise(log.of("WARNING"))]
    assert gaps[:7] == [60, 120, 240, 480, 960, 1920, 3600]
    assert set(gaps[7:]) == {MAX_INTERVAL}
    assert log.of("INFO") == [log.now]


def test_a_log_line_says_how_many_events_are_pending_and_since_when() -> None:
    with logged() as log:
        log.fail()
        log.fail(after=90)
        log.succeed(after=5)
    (_, _, first), (_, _, second), (_, _, end) = log.lines
    assert re.fullmatch(
        r"cannot deliver: retry \(17 events pending in /spools/spool\.db, "
        r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00\)",
        first,
    )
    assert second == first
    assert end == "events are delivered again (after 95 s)"


def test_a_server_failing_every_other_request_is_not_logged_each_time() -> None:
    with logged() as log:
        for _ in range(3600):
            log.fail(after=0.5)
            log.succeed(after=0.5)
    assert len(log.lines) == 2 * len([0, 60, 180, 420, 900, 1860])


def test_alternating_failures_are_not_logged_each_time() -> None:
    with logged() as log:
        for number in range(3600):
            log.fail(("retry", "hold")[number % 2], after=1)
    assert len(log.lines) == 2 * len([0, 60, 180, 420, 900, 1860])


def test_a_failure_after_a_calm_is_logged_at_once() -> None:
    with logged() as log:
        for _ in range(3):
            log.fail()
            log.succeed(after=1)
            log.now += FIRST_INTERVAL * 4
    assert len(log.of("WARNING")) == len(log.of("INFO")) == 3


EVENTS = st.tuples(st.sampled_from(["retry", "hold", "success"]), st.floats(0, 10_000))


@given(st.lists(EVENTS, max_size=60))
def test_log_lines_of_any_outage_are_few_and_true(events: list[tuple[str, float]]) -> None:
    with logged() as log:
        failing = told = False
        lines_before = 0
        for what, after in events:
            if what == "success":
                log.succeed(after=after)
                assert len(log.lines) - lines_before == (failing and told)
                failing = told = False
            else:
                log.fail(what, after=after)
                failing = True
                told |= len(log.lines) > lines_before
                assert len(log.lines) - lines_before <= 1
                kinds = [at for at, _, text in log.lines if text.startswith(f"cannot deliver: {what} (")]
                assert kinds, "the first failure of a kind is logged"
                assert log.now - kinds[-1] < MAX_INTERVAL
            lines_before = len(log.lines)
    for kind in ("retry", "hold"):
        times = [at for at, _, text in log.lines if text.startswith(f"cannot deliver: {kind} (")]
        assert all(later - earlier >= FIRST_INTERVAL for earlier, later in pairwise(times))


def test_a_sender_logs_the_outage_of_its_server(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "alignai")
    connect_server.respond = refuse(Code.UNAVAILABLE, "down for a while")
    with client(connect_server.url, spool_path) as sdk:
        record(sdk, 3)
        wait_until(lambda: "cannot be delivered: HTTP 503: down for a while. They are kept and retried" in caplog.text)
        assert "(3 events pending in" in caplog.text
        connect_server.respond = None
        assert sdk.flush()
        wait_until(lambda: "events are delivered again" in caplog.text)


def test_an_uploader_rarely_logs_a_server_that_fails_every_other_request(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "alignai")

    def respond(request: Request) -> None:
        if len(connect_server.requests) % 2:
            raise ConnectError(Code.UNAVAILABLE, "every other")

    connect_server.respond = respond
    with uploads(connect_server.url, spool_path, messages(40), flush_batch_size=2) as up:
        up.finish()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
