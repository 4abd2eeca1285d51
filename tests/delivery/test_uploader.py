"""The effects of each answer of a server on a batch. The uploader is called step by step, so nothing waits."""

from __future__ import annotations

import logging
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from alignai._delivery.prober import FAILURES_BEFORE_PROBE
from alignai._delivery.uploader import HOLD_SECONDS, Uploader
from alignai._transport.api_client import Action, APIClient, Outcome
from alignai.config import Config
from tests.support.clients import inspect, stored
from tests.support.servers.connect import ConnectServer, refuse
from tests.support.servers.raw import OK, answer, body, http
from tests.support.uploads import KEY, encoded, event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from alignai.deadline import Deadline
    from alignai.spool import Spool
    from tests.support.servers.connect import Request
    from tests.support.servers.raw import RawServer

BAD = "bad"


class Client(APIClient):
    """An API client that remembers the outcome of each upload."""

    def __init__(self, api_host: str, api_key: str) -> None:
        super().__init__(api_host, api_key)
        self.actions: list[Action] = []

    def upload(self, request_id: str, events: Sequence[bytes], deadline: Deadline) -> Outcome:
        outcome = super().upload(request_id, events, deadline)
        self.actions.append(outcome.action)
        return outcome


class Uploads:
    """A spool, a client and an uploader between them."""

    def __init__(self, spool: Spool, client: Client, config: Config) -> None:
        self.spool = spool
        self.client = client
        self.uploader = Uploader(spool, client, config)

    @property
    def wait(self) -> float:
        """Seconds until the next upload may begin."""
        return self.uploader.not_before.remaining

    @property
    def unsettled(self) -> int:
        return self.spool.unsettled(self.spool.last_seq())

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.uploader.upload_next()

    def finish(self) -> None:
        """Upload until every event has an outcome."""
        for _ in range(10_000):
            if not self.uploader.upload_next():
                return
        pytest.fail(f"{self.unsettled} events are still unsettled")


@contextmanager
def uploads(url: str, spool_path: Path, payloads: Sequence[bytes], **config: float) -> Iterator[Uploads]:
    with closing(stored(spool_path, payloads)) as spool, closing(Client(url, KEY)) as client:
        yield Uploads(spool, client, Config(**config))


def messages(count: int, bad: Sequence[int] = (), size: int = 10) -> list[bytes]:
    """Return *count* events, numbered from 0. `refuse_bad` refuses those in *bad*."""
    return encoded(*(event(n, BAD if n in bad else f"{n} ".ljust(size, "x")) for n in range(count)))


def ids(numbers: Sequence[int]) -> list[str]:
    return [event(number)["id"] for number in numbers]


def refuse_bad(code: Code) -> Callable[[Request], None]:
    def respond(request: Request) -> None:
        contents = [each["properties"]["messageProperties"]["messageContent"] for each in request.events]
        if BAD in contents:
            raise ConnectError(code, "one of these is bad")

    return respond


# -- sent --------------------------------------------------------------------------------------------------------------


def test_everything_arrives_in_order_and_once(connect_server: ConnectServer, spool_path: Path) -> None:
    with uploads(connect_server.url, spool_path, messages(120)) as up:
        up.finish()
        assert (up.unsettled, up.spool.totals().sent) == (0, 120)
    assert connect_server.ids() == ids(range(120))
    assert [len(request.ids) for request in connect_server.requests] == [50, 50, 20]
    assert len({request.request_id for request in connect_server.requests}) == 3


def test_an_event_that_already_exists_counts_as_sent(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = refuse(Code.ALREADY_EXISTS)
    with uploads(connect_server.url, spool_path, messages(3)) as up:
        up.finish()
        assert (up.spool.totals().sent, up.wait) == (3, 0)


# -- retry -------------------------------------------------------------------------------------------------------------


def test_a_repeat_has_the_first_request_id_and_the_same_events(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = refuse(Code.UNAVAILABLE)
    with uploads(connect_server.url, spool_path, messages(3)) as up:
        up.step(2)
        up.spool.append(messages(4)[3])
    connect_server.respond = None
    with uploads(connect_server.url, spool_path, []) as up:  # as after a restart
        up.finish()
    first, second, third, fourth = connect_server.requests
    assert first.request_id == second.request_id == third.request_id != fourth.request_id
    assert [request.ids for request in connect_server.requests] == [ids(range(3))] * 3 + [ids([3])]


def test_waits_grow_and_end_with_a_success(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = refuse(Code.UNAVAILABLE)
    with uploads(connect_server.url, spool_path, messages(1)) as up:
        up.step(12)
        up.uploader.reset_backoff()
        assert up.wait == 0
        up.step()
        assert up.wait <= 0.5  # after a reset, the waits start again from the shortest
        up.step(12)
        connect_server.respond = None
        up.uploader.reset_backoff()
        up.finish()
        assert up.wait == 0


def test_retry_after_is_the_least_wait(raw_server: Callable[..., RawServer], spool_path: Path) -> None:
    server = raw_server(answer(http(429, b"{}", retry_after=30), OK))
    with uploads(server.url, spool_path, messages(1)) as up:
        up.step()
        assert 29 < up.wait <= 30.5
        up.finish()
        assert up.unsettled == 0


# -- hold --------------------------------------------------------------------------------------------------------------


def test_a_day_of_401s_loses_nothing_and_says_so_once(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "alignai")
    connect_server.respond = refuse(Code.UNAUTHENTICATED, "no such key")
    attempts_a_day = round(24 * 60 * 60 / HOLD_SECONDS)
    with uploads(connect_server.url, spool_path, messages(5), flush_batch_size=3) as up:
        up.step(attempts_a_day)
        assert (up.unsettled, HOLD_SECONDS - 1 < up.wait <= HOLD_SECONDS) == (5, True)
        connect_server.respond = None
        up.finish()
    assert connect_server.ids() == ids(range(5))
    assert len({request.request_id for request in connect_server.requests}) == 2
    assert len(connect_server.requests) == attempts_a_day + 2
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert KEY not in caplog.text


def test_a_longer_retry_after_lengthens_a_hold(raw_server: Callable[..., RawServer], spool_path: Path) -> None:
    server = raw_server(answer(http(403, b"{}", retry_after=300)))
    with uploads(server.url, spool_path, messages(1)) as up:
        up.step()
        assert 299 < up.wait <= 300


# -- split -------------------------------------------------------------------------------------------------------------


def test_an_oversize_batch_is_split_and_the_ceiling_remembered(spool_path: Path) -> None:
    with ConnectServer(read_max_bytes=20_000) as server:
        with uploads(server.url, spool_path, messages(300, size=1000)) as up:
            up.finish()
            found = up.client.actions
        assert server.ids() == ids(range(300))
    learned = len(found) - 1 - found[::-1].index(Action.SPLIT)
    assert learned < 6
    assert set(found[learned + 1 :]) == {Action.SENT}


def test_an_oversize_event_is_rejected_and_lowers_no_ceiling(spool_path: Path) -> None:
    large = encoded(event(1, "x" * 200_000))
    with ConnectServer(read_max_bytes=100_000) as server:
        with uploads(server.url, spool_path, [*messages(1), *large, *messages(102)[2:]]) as up:
            up.finish()
            assert (up.spool.totals().sent, up.spool.totals().rejected) == (101, 1)
            assert len(up.client.actions) < 20
        assert server.ids() == ids([0, *range(2, 102)])


def test_a_batch_that_is_too_large_is_never_sent_again_unchanged(
    raw_server: Callable[..., RawServer], spool_path: Path
) -> None:
    server = raw_server(answer(http(413, b"{}"), OK))
    with uploads(server.url, spool_path, messages(4)) as up:
        up.finish()
        assert up.spool.totals().sent == 4
    assert len({body(request) for request in server.requests}) == 3


# -- isolate -----------------------------------------------------------------------------------------------------------


def test_three_bad_events_among_500_are_rejected_and_the_others_arrive(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = (7, 250, 499)
    connect_server.respond = refuse_bad(Code.INVALID_ARGUMENT)
    with uploads(connect_server.url, spool_path, messages(500, bad)) as up:
        up.finish()
        assert up.wait == 0
    found = inspect(spool_path)
    assert (found["rejected"], found["sent"], found["pending"], found["in_flight"]) == (3, 497, 0, 0)
    assert connect_server.ids() == ids([number for number in range(500) if number not in bad])
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert "one of these" not in caplog.text + str(found["last_error"])  # the server may quote the refused event


def test_a_batch_of_which_every_event_is_refused_slows_uploads_down(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connect_server.respond = refuse_bad(Code.INVALID_ARGUMENT)
    payloads = messages(30, bad=range(20))
    with uploads(connect_server.url, spool_path, payloads, flush_batch_size=10) as up:
        while up.spool.totals().rejected < 10:
            assert up.wait == 0
            up.step()
        assert HOLD_SECONDS - 1 < up.wait <= HOLD_SECONDS
        while up.spool.totals().rejected < 20:
            up.step()
        assert HOLD_SECONDS - 1 < up.wait <= HOLD_SECONDS
        assert [record.levelname for record in caplog.records].count("ERROR") == 1
        up.finish()
    assert connect_server.ids() == ids(range(20, 30))


def test_refused_small_batches_slow_uploads_down_together(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = refuse(Code.INVALID_ARGUMENT)
    with uploads(connect_server.url, spool_path, messages(40), flush_batch_size=3) as up:
        while up.wait < 1:
            up.step()
        assert up.spool.totals().rejected == 12
        connect_server.respond = None
        up.finish()
        assert up.spool.totals().sent == 28


def test_a_few_bad_events_do_not_slow_uploads_down(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = refuse_bad(Code.INVALID_ARGUMENT)
    with uploads(connect_server.url, spool_path, messages(9, bad=range(9))) as up:
        up.finish()
        assert (up.wait, up.spool.totals().rejected) == (0, 9)


# -- faults of the server ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 5, 9, 11])
def test_an_event_that_makes_the_server_fail_is_isolated_after_ten_errors(
    connect_server: ConnectServer, spool_path: Path, bad: int
) -> None:
    connect_server.respond = refuse_bad(Code.INTERNAL)
    messages_behind = [messages(13)[12]]  # without it nothing could prove that the server is up
    with uploads(connect_server.url, spool_path, messages(12, bad=[bad]) + messages_behind, flush_batch_size=10) as up:
        up.step(bad > 9)
        up.step(FAILURES_BEFORE_PROBE - 1)
        assert len({request.request_id for request in connect_server.requests}) == 1 + (bad > 9)
        up.finish()
        assert (up.spool.totals().sent, up.spool.totals().rejected) == (12, 1)
    assert connect_server.ids() == ids([number for number in range(13) if number != bad])


@pytest.mark.parametrize("count", [1, 12])
def test_if_every_request_fails_nothing_is_rejected_or_split(
    connect_server: ConnectServer, spool_path: Path, count: int
) -> None:
    connect_server.respond = refuse(Code.INTERNAL)
    with uploads(connect_server.url, spool_path, messages(count), flush_batch_size=10) as up:
        up.step(40)
        assert (up.spool.totals().rejected, up.unsettled) == (0, count)
        connect_server.respond = None
        up.finish()
    assert connect_server.ids() == ids(range(count))
    sent = [request for request in connect_server.requests if request.taken]
    assert [len(request.ids) for request in sent] == ([1] if count == 1 else [10, 2])
    assert sent[0].request_id == connect_server.requests[0].request_id


def test_a_single_event_that_makes_the_server_fail_blocks_no_others(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    connect_server.respond = refuse_bad(Code.INTERNAL)
    with uploads(connect_server.url, spool_path, messages(1, bad=[0])) as up:
        up.step(2 * FAILURES_BEFORE_PROBE)
        assert up.spool.totals().rejected == 0  # nothing proves that the server is up
        up.spool.append(messages(2)[1])
        up.finish()
        assert (up.spool.totals().sent, up.spool.totals().rejected) == (1, 1)


def store_and_fail(request: Request) -> None:
    request.taken = True
    raise ConnectError(Code.INTERNAL, "stored, and failed")


@pytest.mark.parametrize("count", [1, 12])
def test_a_server_that_stores_and_then_fails_sees_few_request_ids(
    connect_server: ConnectServer, spool_path: Path, count: int
) -> None:
    connect_server.respond = store_and_fail
    for _ in range(3):  # as after restarts
        with uploads(connect_server.url, spool_path, messages(count) if not connect_server.requests else []) as up:
            for _ in range(40):
                up.uploader.reset_backoff()
                up.step()
            assert up.unsettled == count
    ids_of_event: dict[str, set[str]] = {}
    for request in connect_server.requests:
        for event_id in request.ids:
            ids_of_event.setdefault(event_id, set()).add(request.request_id)
    assert max(map(len, ids_of_event.values())) <= 2
    probes = [request for request in connect_server.requests if len(request.ids) < count]
    assert len(probes) <= 3 * 2 * 4


def test_flushes_do_not_probe_more_often(
    connect_server: ConnectServer, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_server.respond = refuse(Code.INTERNAL)
    with uploads(connect_server.url, spool_path, messages(12)) as up:
        monkeypatch.setattr("alignai._delivery.prober._FIRST_INTERVAL", 3600.0)
        monkeypatch.setattr("alignai._delivery.prober._MAX_INTERVAL", 3600.0)
        up.uploader._prober._interval = 3600.0
        for _ in range(60):
            up.uploader.reset_backoff()
            up.step()
    assert len([request for request in connect_server.requests if len(request.ids) == 1]) == 2
