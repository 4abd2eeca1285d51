"""Requests grow while there is a backlog. Everything arrives as before if the server refuses grown requests."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from hypothesis import given
from hypothesis import strategies as st

from alignai._delivery.batch_size import BatchSize
from alignai.config import Config
from alignai.spool import Batch
from tests.delivery.test_uploader import ids, messages, uploads
from tests.support.servers.connect import ConnectServer, refuse
from tests.support.servers.raw import OK, body, header, reset

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.servers.connect import Request
    from tests.support.servers.raw import RawServer

USUAL = 10
SOON = 0.5
LATE = 2.0
CONFIG = Config(flush_batch_size=USUAL, request_timeout_seconds=10, max_batch_bytes=1 << 20)
REQUEST_ID = "0" * 32


def batch(events: int, size: int = 100) -> Batch:
    return Batch(1, events, REQUEST_ID, (b"x" * size,) * events, 1, 0)


def grown(times: int = 1) -> BatchSize:
    """Return the value that has doubled *times* times."""
    size = BatchSize(CONFIG)
    for _ in range(3 + times):
        size.sent(batch(size.events), SOON)
    return size


def refuse_more_than(most: int, code: Code, words: str = "no") -> Callable[[Request], None]:
    def respond(request: Request) -> None:
        if len(request.ids) > most:
            raise ConnectError(code, words)

    return respond


def sizes(server: ConnectServer) -> list[int]:
    return [len(request.ids) for request in server.requests]


# -- how it grows ------------------------------------------------------------------------------------------------------


def test_after_four_full_batches_each_doubles_the_next_up_to_sixteen_times() -> None:
    size = BatchSize(CONFIG)
    seen = []
    for _ in range(9):
        seen.append(size.events)
        size.sent(batch(size.events), SOON)

    assert seen == [10, 10, 10, 10, 20, 40, 80, 160, 160]


def test_a_batch_shrinks_again_if_uploads_take_long() -> None:
    size = grown(2)
    size.sent(batch(40), LATE)
    assert size.events == 20
    size.sent(batch(20), LATE)
    size.sent(batch(10), LATE)
    assert size.events == USUAL


def test_a_request_does_not_grow_beyond_max_batch_bytes() -> None:
    size = grown(2)
    size.sent(batch(40, size=14_000), SOON)

    assert size.events == 40


@pytest.mark.parametrize("end", ["reset", "not full"])
def test_with_the_end_of_the_backlog_the_usual_size_is_back(end: str) -> None:
    size = grown(3)
    if end == "reset":
        size.reset()
    else:
        size.sent(batch(79), SOON)
    assert size.events == USUAL
    size.sent(batch(USUAL), SOON)
    assert size.events == USUAL


def test_half_of_a_refused_size_is_the_maximum_from_then_on() -> None:
    size = grown(3)
    size.refused(batch(80))
    for _ in range(12):
        size.sent(batch(size.events), SOON)

    assert size.events == 40


def test_a_usual_batch_that_is_refused_says_nothing_of_sizes() -> None:
    size = BatchSize(CONFIG)
    size.refused(batch(USUAL))
    for _ in range(12):
        size.sent(batch(size.events), SOON)

    assert size.events == 16 * USUAL


def test_a_limit_is_doubled_after_many_batches() -> None:
    size = BatchSize(CONFIG)
    size.too_large(batch(10, size=50_000))
    limits = []
    for _ in range(400):
        limits.append(size.bytes)
        if size.bytes > 250_000:
            size.too_large(batch(10, size=50_000))
        size.sent(batch(1), SOON)
    assert set(limits) == {250_000, 500_000}
    raised = [number for number, limit in enumerate(limits) if limit == 500_000]
    assert raised == [64, 64 + 128]


def test_a_limit_is_not_learnt_from_a_batch_smaller_than_any_limit() -> None:
    size = BatchSize(CONFIG)
    size.too_large(batch(10))
    assert size.bytes == 4096


def test_a_learnt_limit_can_be_forgotten() -> None:
    size = grown(3)
    size.too_large(batch(80))
    size.restore()
    for _ in range(12):
        size.sent(batch(size.events), SOON)
    assert (size.bytes, size.events) == (1 << 20, 16 * USUAL)


@given(
    st.integers(1, 2000),
    st.lists(st.tuples(st.sampled_from(["sent", "partly", "refused", "reset"]), st.floats(0, 5), st.integers(1, 500))),
)
def test_the_size_is_between_the_usual_one_and_the_refused_one(usual: int, log: list[tuple[str, float, int]]) -> None:
    size = BatchSize(Config(flush_batch_size=usual))
    most = 16 * usual
    taken = 0
    for what, seconds, length in log:
        before = size.events
        taken += what in {"sent", "partly"}
        if what == "sent":
            size.sent(batch(before, length), seconds)
        elif what == "partly":
            size.sent(batch(max(1, before // 2), length), seconds)
        elif what == "refused":
            size.refused(batch(before))
            most = max(usual, min(most, before // 2)) if before > usual else most
        else:
            size.reset()
        assert usual <= size.events <= most << (taken // 64)
        assert size.events <= 2 * before


# -- servers that refuse them ------------------------------------------------------------------------------------------


def test_a_backlog_is_sent_in_growing_requests_in_order_and_once(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    with uploads(connect_server.url, spool_path, messages(400), flush_batch_size=10) as up:
        up.finish()
        assert up.unsettled == 0
    assert connect_server.ids() == ids(range(400))
    assert sizes(connect_server) == [10, 10, 10, 10, 20, 40, 80, 160, 60]


REFUSALS = {
    "413": (Code.RESOURCE_EXHAUSTED, "message is larger than configured max"),
    "a limit of its own": (Code.INVALID_ARGUMENT, "too many events"),
    "failing": (Code.INTERNAL, "no"),
    "giving up": (Code.DEADLINE_EXCEEDED, "no"),
    "forbidding": (Code.PERMISSION_DENIED, "no"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_events_of_refused_grown_batches_arrive_in_order_and_once(
    connect_server: ConnectServer, spool_path: Path, refusal: str
) -> None:
    connect_server.respond = refuse_more_than(30, *REFUSALS[refusal])
    with uploads(connect_server.url, spool_path, messages(600), flush_batch_size=10) as up:
        up.step(150)
        totals = up.spool.totals()
        assert (up.unsettled, totals.sent, totals.rejected) == (0, 600, 0)
        assert up.spool.check() == []
    assert connect_server.ids() == ids(range(600))
    assert max(sizes(connect_server)) == 40
    assert 10 < max(sizes(connect_server)[-10:]) <= 20


def test_a_connection_that_breaks_on_large_requests_gets_small_ones(
    raw_server: Callable[..., RawServer], spool_path: Path
) -> None:
    def cut(conn: socket.socket, request: bytes, n: int) -> None:
        sent = body(request)
        if header(request, "content-encoding"):
            sent = gzip.decompress(sent)
        if sent.count(b'"message_create"') > 30:
            reset(conn, request, n)
        else:
            conn.sendall(OK)

    server = raw_server(cut)
    with uploads(server.url, spool_path, messages(200), flush_batch_size=10) as up:
        up.step(100)
        assert (up.unsettled, up.spool.totals().sent) == (0, 200)


def test_in_an_outage_a_grown_batch_stays_as_it_is(connect_server: ConnectServer, spool_path: Path) -> None:
    with uploads(connect_server.url, spool_path, messages(400), flush_batch_size=10) as up:
        up.step(6)
        connect_server.respond = refuse(Code.UNAVAILABLE)
        up.step(25)
        connect_server.respond = None
        up.finish()
    refused = [request for request in connect_server.requests if len(request.ids) == 80 and not request.taken]
    assert len(refused) == 25
    (request_id,) = {request.request_id for request in refused}
    (taken,) = [each for each in connect_server.requests if each.request_id == request_id and each.taken]
    assert taken.ids == refused[0].ids
    assert len(connect_server.requests[connect_server.requests.index(taken) + 1].ids) == USUAL
    assert connect_server.ids() == ids(range(400))


def test_a_grown_batch_is_not_probed_event_by_event(connect_server: ConnectServer, spool_path: Path) -> None:
    with uploads(connect_server.url, spool_path, messages(600), flush_batch_size=10) as up:
        up.step(7)
        connect_server.respond = refuse(Code.INVALID_ARGUMENT)
        connect_server.requests.clear()
        while up.wait < 1:
            up.step()
        assert up.spool.totals().rejected <= 2 * USUAL
    assert len(connect_server.requests) < 6 * USUAL
