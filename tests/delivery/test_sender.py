"""The times of uploads, the process that uploads, and the results of flushes."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from connectrpc.code import Code

from tests.support.clients import client, finished, record, worker
from tests.support.servers.connect import refuse
from tests.support.servers.raw import silence
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from alignai import AlignAI
    from tests.support.servers.connect import ConnectServer
    from tests.support.servers.raw import RawServer

LONG = 3_600_000
"""A flush interval in milliseconds that is longer than any test."""

OURS = ("alignai-maintenance", "alignai-sender")


def threads() -> list[str]:
    """Return the names of the SDK's threads that run in this process."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name in OURS)


def holder(sdk: AlignAI) -> int:
    """Return the id of the process that uploads, or 0."""
    lease = sdk.stats().lease
    return lease.pid if lease else 0


HOLD_THE_LEASE = """
import sys
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(flush_interval_ms=float(sys.argv[1])))
print(sdk.open_session("s0", "u0"), flush=True)
print(bool(sdk.flush(20)), flush=True)
sys.stdin.read()
"""


@contextmanager
def lease_held_elsewhere(url: str, spool_path: Path, interval: int = LONG) -> Iterator[int]:
    """Let another process hold the lease with nothing to send, and yield its id."""
    with worker(HOLD_THE_LEASE, url, spool_path, str(interval)) as process:
        assert process.stdout
        process.stdout.readline()
        assert process.stdout.readline() == "True\n"
        try:
            yield process.pid
        finally:
            process.kill()


# -- when --------------------------------------------------------------------------------------------------------------


def test_the_threads_run_from_the_first_client_to_its_end(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path):
        assert threads() == list(OURS)
    assert threads() == []


def test_a_full_batch_wakes_the_sender_at_once(
    connect_server: ConnectServer, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignai._delivery.upload_cycle._TICK_SECONDS", 3600.0)
    with client(connect_server.url, spool_path, flush_interval_ms=LONG, flush_batch_size=10) as sdk:
        ids = record(sdk, 1)
        wait_until(lambda: holder(sdk) == os.getpid())
        ids += record(sdk, 9)
        wait_until(lambda: connect_server.ids() == ids)


def test_an_event_waits_for_the_interval_and_no_longer(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path, flush_interval_ms=1000) as sdk:
        start = time.monotonic()
        ids = record(sdk, 3)
        wait_until(lambda: connect_server.ids() == ids)
        assert time.monotonic() - start > 0.9
    assert len(connect_server.requests) == 1


def test_the_interval_passes_though_the_clock_was_put_back(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path, flush_interval_ms=300) as sdk:
        with pytest.MonkeyPatch.context() as clock:
            clock.setattr("time.time", lambda: 4e9)  # events recorded now are from the future
            ids = record(sdk, 1)
        wait_until(lambda: connect_server.ids() == ids)


def test_events_that_another_process_recorded_are_noticed(connect_server: ConnectServer, spool_path: Path) -> None:
    append_only = """
from alignai import AlignAI, Config
with AlignAI(config=Config(sender=False)) as sdk:
    print(sdk.close_session("s1"))
"""
    with client(connect_server.url, spool_path) as sdk:
        ids = record(sdk, 1)
        wait_until(lambda: holder(sdk) == os.getpid())
        ids += finished(append_only, connect_server.url, spool_path).split()
        wait_until(lambda: connect_server.ids() == ids)


# -- flush -------------------------------------------------------------------------------------------------------------


def test_flush_sends_what_was_recorded_and_says_so(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path, flush_interval_ms=LONG) as sdk:
        ids = record(sdk, 60)
        result = sdk.flush()
        assert (bool(result), result.sent, result.remaining, result.rejected) == (True, 60, 0, 0)
        assert connect_server.ids() == ids


def test_flush_with_nothing_to_send_is_at_once_true(spool_path: Path) -> None:
    with client("http://127.0.0.1:1", spool_path) as sdk:
        assert sdk.flush(0)


def test_flush_says_what_remains(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = refuse(Code.UNAVAILABLE)
    with client(connect_server.url, spool_path) as sdk:
        record(sdk, 3)
        result = sdk.flush(0.2)
        assert (bool(result), result.sent, result.remaining) == (False, 0, 3)
        connect_server.respond = None


def test_flush_says_what_was_rejected(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = refuse(Code.INVALID_ARGUMENT)
    with client(connect_server.url, spool_path, flush_interval_ms=LONG) as sdk:
        record(sdk, 3)
        result = sdk.flush()
        assert (bool(result), result.sent, result.rejected) == (True, 0, 3)


def test_flush_does_not_wait_for_what_is_recorded_later(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = lambda request: time.sleep(0.01)
    with client(connect_server.url, spool_path, flush_batch_size=2) as sdk:
        ended = threading.Event()
        recording = threading.Thread(target=lambda: [record(sdk, 1) for _ in iter(ended.is_set, True)])
        recording.start()
        try:
            assert sdk.flush()
        finally:
            ended.set()
            recording.join()
        connect_server.respond = None


def test_flush_cuts_a_hold_short(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = refuse(Code.UNAUTHENTICATED)
    with client(connect_server.url, spool_path) as sdk:
        ids = record(sdk, 1)
        wait_until(lambda: connect_server.requests)
        assert not sdk.flush(0.2)
        connect_server.respond = None
        assert sdk.flush()
        assert connect_server.ids() == ids


def test_flush_works_where_another_process_holds_the_lease(connect_server: ConnectServer, spool_path: Path) -> None:
    with (
        lease_held_elsewhere(connect_server.url, spool_path) as elsewhere,
        client(connect_server.url, spool_path, flush_interval_ms=LONG) as sdk,
    ):
        ids = record(sdk, 3)
        result = sdk.flush()
        assert (bool(result), result.sent) == (True, 3)
        assert holder(sdk) == elsewhere
    assert connect_server.ids()[1:] == ids


@pytest.mark.parametrize("repeats", [1, 2])
def test_flush_in_a_process_that_only_appends_hurries_the_one_that_sends(
    connect_server: ConnectServer, spool_path: Path, repeats: int
) -> None:
    with (
        lease_held_elsewhere(connect_server.url, spool_path),
        client(connect_server.url, spool_path, sender=False) as sdk,
    ):
        for _ in range(repeats):
            record(sdk, 1)
            assert sdk.flush()
        assert threads() == ["alignai-maintenance"]
    assert len(connect_server.ids()) == 1 + repeats


def test_a_process_that_only_appends_waits_for_no_one_at_its_end(spool_path: Path) -> None:
    start = time.monotonic()
    with client("http://127.0.0.1:1", spool_path, sender=False) as sdk:
        record(sdk, 1)
    assert time.monotonic() - start < 10
    assert threads() == []


# -- the uploading process ---------------------------------------------------------------------------------------------


def test_the_lease_is_taken_over_within_seconds_when_its_holder_is_killed(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    with ExitStack() as stack:
        with lease_held_elsewhere(connect_server.url, spool_path) as elsewhere:
            sdk = stack.enter_context(client(connect_server.url, spool_path))
            ids = record(sdk, 1)
            assert holder(sdk) == elsewhere
        wait_until(lambda: connect_server.ids()[1:] == ids, 5)
        assert holder(sdk) == os.getpid()


def test_closing_gives_the_lease_back(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path, sender=False) as other:
        with client(connect_server.url, spool_path) as sdk:
            record(sdk, 1)
            assert sdk.flush()
            assert holder(other) == os.getpid()
        assert holder(other) == 0


def test_closing_ends_an_upload_that_is_just_beginning(raw_server: Callable[..., RawServer], spool_path: Path) -> None:
    server = raw_server(silence)
    for _ in range(15):
        sdk = client(server.url, spool_path, flush_interval_ms=0.001, request_timeout_seconds=600)
        record(sdk, 1)
        sdk.close(0)
        wait_until(lambda: not threads())


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_a_damaged_spool_is_logged_as_an_error(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with client(connect_server.url, spool_path) as sdk:
        ids = record(sdk, 1)
        assert sdk.flush()
        spool_path.with_name(spool_path.name + "-wal").unlink()
        ids += record(sdk, 1)
        wait_until(lambda: "write-ahead log" in caplog.text)
        assert sdk.flush()
    assert connect_server.ids() == ids
    assert {each.levelname for each in caplog.records} == {"ERROR"}
