"""A process that cannot deliver keeps no other from it, and together they try as often as one would."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from alignai._delivery.uploader import HOLD_SECONDS, Uploader
from alignai._transport.api_client import APIClient
from alignai.config import Config
from tests.delivery.test_sender import LONG, holder
from tests.delivery.test_uploader import messages
from tests.support.clients import client, record, stored, worker
from tests.support.servers.connect import refuse
from tests.support.uploads import KEY
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer, Request

REVOKED = "revoked"
RECORD_AND_FLUSH = """
import sys
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(flush_interval_ms=20))
print(sdk.open_session("s0", "u0"), flush=True)
sdk.flush(2)
print("flushed", flush=True)
sys.stdin.read()
"""


def refuse_revoked(request: Request) -> None:
    if request.headers["authorization"] == f"Bearer {REVOKED}":
        raise ConnectError(Code.UNAUTHENTICATED, "this key is revoked")


@pytest.fixture
def worker_with_a_revoked_key(connect_server: ConnectServer, spool_path: Path) -> Iterator[str]:
    """Run a process whose key was refused and that waits now. Yield the id of its event."""
    connect_server.respond = refuse_revoked
    environment = {**os.environ, "ALIGNAI_API_KEY": REVOKED}
    with worker(RECORD_AND_FLUSH, connect_server.url, spool_path, env=environment) as process:
        assert process.stdout
        event_id = process.stdout.readline().strip()
        assert process.stdout.readline() == "flushed\n"
        yield event_id
        process.kill()


def test_a_worker_with_the_new_key_delivers_beside_one_with_the_old_key(
    connect_server: ConnectServer, spool_path: Path, worker_with_a_revoked_key: str
) -> None:
    with client(connect_server.url, spool_path, flush_interval_ms=LONG) as sdk:
        ids = [worker_with_a_revoked_key, *record(sdk, 3)]
        assert sdk.flush(20)
        assert holder(sdk) == os.getpid()
    assert connect_server.ids() == ids
    first = connect_server.requests[0]
    (taken,) = [request for request in connect_server.requests if request.ids == first.ids and request.taken]
    assert taken.request_id == first.request_id


def test_a_worker_with_the_new_key_delivers_without_a_flush(
    connect_server: ConnectServer, spool_path: Path, worker_with_a_revoked_key: str
) -> None:
    with client(connect_server.url, spool_path) as sdk:
        ids = [worker_with_a_revoked_key, *record(sdk, 3)]
        wait_until(lambda: connect_server.ids() == ids)


def test_the_end_of_an_outage_is_noticed_though_another_process_delivered(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "alignai")
    connect_server.respond = refuse(Code.UNAUTHENTICATED)
    with client(connect_server.url, spool_path) as sdk:
        record(sdk, 1)
        wait_until(lambda: "on hold" in caplog.text)
        connect_server.respond = None
        script = "from alignai import AlignAI\nwith AlignAI() as sdk: print(bool(sdk.flush(20)))"
        with worker(script, connect_server.url, spool_path) as other:
            assert other.communicate(timeout=60)[0] == "True\n"
        wait_until(lambda: "delivered again" in caplog.text)
        ids = record(sdk, 1)
        wait_until(lambda: connect_server.ids()[1:] == ids)


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_processes_share_the_attempts_of_a_hold(
    connect_server: ConnectServer, spool_path: Path, processes: int
) -> None:
    connect_server.respond = refuse(Code.UNAUTHENTICATED)
    config = Config()
    with ExitStack() as stack:
        spool = stack.enter_context(closing(stored(spool_path, messages(3))))
        clients = [stack.enter_context(closing(APIClient(connect_server.url, KEY))) for _ in range(processes)]
        uploaders = [Uploader(spool, each, config) for each in clients]
        for _ in range(4):
            for uploader in uploaders:
                assert uploader.upload_next() == 3
        waits = [uploader.not_before.remaining for uploader in uploaders]
        connect_server.respond = None
        uploaders[0].reset_backoff()
        assert uploaders[0].upload_next() == 3
        uploaders[-1].notice_others()
        assert uploaders[-1].not_before.expired
    assert all(processes * HOLD_SECONDS - 30 < wait <= processes * HOLD_SECONDS for wait in waits)
