"""The log lines of a sender about problems of its spool, and their levels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import PROJECT, client, record
from tests.support.processes import process
from tests.support.spool_file import wal
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer

RECORD_AND_DIE = f"""
s = spool(project_id={PROJECT!r})
checkpoint()
for i in range(100): s.append(b'{{"n": %d}}' % i)
say('open')
hear()
"""
FRAME = 4096 + 24


@pytest.mark.parametrize(("since_the_start", "level"), [(False, "WARNING"), (True, "ERROR")])
def test_losses_of_a_power_cut_are_logged_as_warnings(
    connect_server: ConnectServer,
    spool_path: Path,
    caplog: pytest.LogCaptureFixture,
    since_the_start: bool,
    level: str,
) -> None:
    """A commit inside the WAL is missing. The WAL was written to since the machine started, or only before."""
    with process(RECORD_AND_DIE, spool_path) as writer:
        writer.hear()
        writer.kill()
    log = wal(spool_path)
    with log.open("r+b") as file:
        file.seek(log.stat().st_size - 20 * FRAME)
        file.write(bytes(2000))
    if not since_the_start:
        os.utime(log, (0, 0))
    with client(connect_server.url, spool_path) as sdk:
        record(sdk, 1)
        assert sdk.flush()
        wait_until(lambda: "write-ahead log" in caplog.text)

    (told,) = [each for each in caplog.records if "write-ahead log" in each.getMessage()]
    assert told.levelname == level


def test_a_lease_that_cannot_be_taken_is_logged_once(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lease_file = spool_path.with_name(spool_path.name + ".lease")
    lease_file.mkdir(parents=True)
    with client(connect_server.url, spool_path) as sdk:
        ids = record(sdk, 3)
        wait_until(lambda: "cannot lock" in caplog.text)
        assert not sdk.flush(0)
        lease_file.rmdir()
        assert sdk.flush()

    assert connect_server.ids() == ids
    (told,) = [each.getMessage() for each in caplog.records if "cannot lock" in each.getMessage()]
    error = f"SpoolError: cannot lock {lease_file}: Is a directory"
    assert told.startswith(f"alignai-sender continues after an error ({error}")
    assert told.endswith("and the disk.)")


def test_an_upload_that_closing_ends_is_no_outage(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connect_server.respond = lambda _: connect_server.stopping.wait() and None
    sdk = client(connect_server.url, spool_path)
    record(sdk, 1)
    wait_until(lambda: connect_server.requests)
    sdk.close(0.1)
    (left,) = [each.getMessage() for each in caplog.records]
    assert "1 events are not sent yet" in left
