"""Processes that end while they upload, killed or short-lived. Their batches keep their identity and arrive."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from alignai._delivery.uploader import CRASHES_BEFORE_PAUSE, Uploader
from alignai._transport.api_client import APIClient
from alignai.config import Config
from tests.support.clients import client, repeated_under_another_id, stored, worker
from tests.support.uploads import KEY, encoded, event
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.support.servers.connect import ConnectServer

SHORT_LIVED = """
import os, sys, time
from alignai import AlignAI, Config

for number, _ in enumerate(iter(sys.stdin.readline, ""), 1):
    child = os.fork()
    if not child:
        sdk = AlignAI(config=Config(flush_interval_ms=1))
        sdk.create_message("s1", number, "user", f"message {number}")
        time.sleep(60)
    print(child, flush=True)
    os.waitpid(child, 0)
"""


def test_a_batch_keeps_its_request_id_if_its_uploader_ends(connect_server: ConnectServer, spool_path: Path) -> None:
    """The server accepts every request, but answers only after the process has ended."""
    ended = threading.Semaphore(0)
    connect_server.respond = lambda _: ended.acquire(timeout=30) and None
    with worker(SHORT_LIVED, connect_server.url, spool_path) as parent:
        assert parent.stdin
        assert parent.stdout
        for number in range(CRASHES_BEFORE_PAUSE + 2):
            parent.stdin.write("\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            wait_until(lambda number=number: len(connect_server.requests) > number)  # type: ignore[misc]
            os.kill(child, signal.SIGKILL)
            ended.release()
        parent.stdin.close()
    connect_server.respond = None
    with client(connect_server.url, spool_path) as sdk:
        assert sdk.flush(60)
        stats = sdk.stats()

    assert (stats.sent, stats.rejected, stats.dropped) == (CRASHES_BEFORE_PAUSE + 2, 0, 0)
    assert len(set(connect_server.ids())) == CRASHES_BEFORE_PAUSE + 2
    assert repeated_under_another_id(connect_server) == []


def test_a_flush_cuts_the_pause_after_many_crashes_short(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = stored(spool_path, encoded(event()))
    uploader = Uploader(spool, APIClient(connect_server.url, KEY), Config())
    uploader.pause_after_crashes(CRASHES_BEFORE_PAUSE - 1)
    assert uploader.not_before.expired
    uploader.pause_after_crashes(CRASHES_BEFORE_PAUSE + 2)
    assert 2 < uploader.not_before.remaining <= 4
    assert "processes in a row ended" in caplog.text
    uploader.reset_backoff()
    uploader.pause_after_crashes(10_000)

    assert uploader.not_before.expired
    assert uploader.upload_next() == 1
    assert spool.stats().sent == 1
    spool.close()


def test_the_pause_after_crashes_is_short_after_any_number_of_them(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    spool = stored(spool_path, [])
    uploader = Uploader(spool, APIClient(connect_server.url, KEY), Config())
    uploader.pause_after_crashes(10_000)
    spool.close()

    assert 5 < uploader.not_before.remaining <= 10


def test_closing_in_the_middle_of_an_upload_does_not_count_as_a_crash(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    answering = threading.Event()
    connect_server.respond = lambda _: answering.wait(60) and None
    try:
        for _ in range(2):
            sdk = client(connect_server.url, spool_path, flush_interval_ms=1)
            before = len(connect_server.requests)
            sdk.create_message("s1", 1, "user", "hello")
            wait_until(lambda before=before: len(connect_server.requests) > before)  # type: ignore[misc]
            sdk.close(0)
            looking = stored(spool_path, [])
            wait_until(lambda spool=looking: spool.backlog().crashes == 0)  # type: ignore[misc]
            looking.close()
    finally:
        answering.set()
