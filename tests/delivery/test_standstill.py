"""If a lease holder cannot upload or the lease file is deleted, events are neither silently stuck nor sent twice."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.delivery.test_sender import lease_held_elsewhere
from tests.support.clients import client, record, repeated_under_another_id, worker
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alignai._delivery.standstill._STANDSTILL_SECONDS", 2.5)
    monkeypatch.setattr("alignai._delivery.standstill._MARGIN_SECONDS", -10.0)


@pytest.mark.usefixtures("impatient")
def test_a_stopped_lease_holder_is_logged_once(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with lease_held_elsewhere(connect_server.url, spool_path) as holder:
        os.kill(holder, signal.SIGSTOP)
        with client(connect_server.url, spool_path) as sdk:
            ids = record(sdk, 3)
            wait_until(lambda: f"process {holder} on " in caplog.text)
            assert not sdk.flush(0.5)
            os.kill(holder, signal.SIGCONT)
            assert sdk.flush()
    assert connect_server.ids()[1:] == ids
    assert len([each for each in caplog.messages if "has tried no upload" in each]) == 1


@pytest.mark.usefixtures("impatient")
def test_an_idle_lease_holder_is_not_logged(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        lease_held_elsewhere(connect_server.url, spool_path),
        client(connect_server.url, spool_path, flush_interval_ms=3_600_000) as sdk,
    ):
        record(sdk, 3)
        end = time.monotonic() + 4
        wait_until(lambda: time.monotonic() > end)
    assert "has tried no upload" not in caplog.text


RECORDS = """
import sys, time
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(flush_interval_ms=50, flush_batch_size=5))
print("open", flush=True)
end = time.monotonic() + 4
while time.monotonic() < end:
    sdk.close_session("s1")
    time.sleep(0.01)
sdk.close(30)
"""


def test_deleting_the_lease_file_makes_no_second_uploader(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = lambda request: time.sleep(0.05)
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(RECORDS, connect_server.url, spool_path)) for _ in range(2)]
        for each in workers:
            assert each.stdout
            assert each.stdout.readline() == "open\n"
        wait_until(lambda: len(connect_server.requests) > 5)
        spool_path.with_name(spool_path.name + ".lease").unlink()
        assert [each.wait(60) for each in workers] == [0, 0]
    request_ids = [request.request_id for request in connect_server.requests]
    assert len(request_ids) - len(set(request_ids)) <= 1, "at most the batch under way comes again"
    assert repeated_under_another_id(connect_server) == []
