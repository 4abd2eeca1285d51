"""Deadlines hold while a stopped process holds the write lock."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.spool.storage.test_write_lock import FOREIGN, HOLDS
from tests.support.clients import client, finished, record
from tests.support.processes import process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer


@pytest.fixture(params=[HOLDS.replace("spool()", "spool(project_id='TEFSZ16')"), FOREIGN], ids=["ours", "foreign"])
def frozen(request: pytest.FixtureRequest, spool_path: Path, connect_server: ConnectServer) -> Iterator[ConnectServer]:
    """Yield a server and a spool whose write lock is held by a stopped process."""
    with client(connect_server.url, spool_path, sender=False) as sdk:
        record(sdk, 1)
    with process(request.param, spool_path) as holder:
        assert holder.hear() == "held"
        os.kill(holder.popen.pid, signal.SIGSTOP)
        yield connect_server


@pytest.mark.parametrize("sender", [True, False])
def test_flush_and_close_return_in_time_beside_a_writer(frozen: ConnectServer, spool_path: Path, sender: bool) -> None:
    sdk = client(frozen.url, spool_path, sender=sender)
    began = time.monotonic()
    assert sdk.flush(0.5).remaining == 1
    flushed = time.monotonic()
    sdk.close(0.2)
    assert flushed - began < 2.5
    assert time.monotonic() - flushed < 2.5


EXITS = """
import sys, time
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(sender=sys.argv[1] == 'True', flush_timeout_seconds=0.5))
print(time.monotonic())
"""


@pytest.mark.parametrize("sender", [True, False])
def test_the_exit_is_not_held_up_by_a_busy_spool(frozen: ConnectServer, spool_path: Path, sender: bool) -> None:
    at_exit = float(finished(EXITS, frozen.url, spool_path, str(sender)).split()[-1])
    assert time.monotonic() - at_exit < 4
