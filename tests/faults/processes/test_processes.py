"""The short form of the scenario "processes", and cases of their own."""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Lease
from tests.faults.kill.worker import Orders
from tests.faults.processes import scenario as processes
from tests.faults.scenario import Run
from tests.support.clients import client, finished, record, repeated_under_another_id, worker
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer, Request


def test_processes_of_many_kinds_lose_nothing() -> None:
    run = Run("processes", seed=1, seconds=0, most=1)
    processes.run(run)
    assert run.figures["trials"] == 1
    assert run.figures["events"] > 100


# -- a frozen leader ---------------------------------------------------------------------------------------------------

LEADER = """
import sys
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(flush_interval_ms=1, request_timeout_seconds=0.5, flush_timeout_seconds=20))
print(sdk.create_message("leader", 1, "user", "hello"), flush=True)
sys.stdin.readline()
sdk.close()
"""


def test_a_frozen_lease_holder_causes_no_double_upload(connect_server: ConnectServer, spool_path: Path) -> None:
    frozen: list[int] = []

    def freeze_then_fail(request: Request) -> None:
        if not frozen:
            frozen.append(leader.pid)
            leader.send_signal(signal.SIGSTOP)
            request.taken = True
            raise ConnectionError("the answer is lost")

    connect_server.respond = freeze_then_fail
    with worker(LEADER, connect_server.url, spool_path) as leader:
        assert leader.stdout
        ids = [leader.stdout.readline().strip()]
        wait_until(lambda: frozen)
        with client(connect_server.url, spool_path, flush_batch_size=5) as other:
            start = time.monotonic()
            ids += record(other, 200)
            assert time.monotonic() - start < 5
            assert not other.flush(1.5)  # longer than the timeout of the lease holder's upload
            assert connect_server.ids() == ids[:1]
            leader.send_signal(signal.SIGCONT)
            assert other.flush(20)
        leader.communicate("\n", timeout=30)
    assert leader.returncode == 0
    assert list(dict.fromkeys(connect_server.ids())) == ids
    assert repeated_under_another_id(connect_server) == []


# -- the lease and forks -----------------------------------------------------------------------------------------------

FORKING_LEADER = """
import gc, os, sys
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(flush_interval_ms=1))
sdk.close_session("s1")
assert sdk.flush(20)
for end in ("exit", "close", "collect"):
    pid = os.fork()
    if not pid:
        if end == "close":
            sdk.close()
        gc.collect()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
print("forked", flush=True)
sys.stdin.readline()
"""


def test_children_that_end_do_not_take_the_lease_from_their_parent(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    with worker(FORKING_LEADER, connect_server.url, spool_path) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "forked\n"
        assert not Lease(spool_path).acquire()
        parent.communicate("\n", timeout=30)


# -- ends --------------------------------------------------------------------------------------------------------------


def test_closing_a_client_whose_spool_is_closed_logs_no_error(
    spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = client("http://127.0.0.1:1", spool_path)
    assert sdk._share
    sdk._share.sender.threads.pause()()  # or they would find the spool closed during their work
    sdk._share.sender.spool.close()
    sdk.close(1)
    assert [entry for entry in caplog.records if entry.levelno >= logging.ERROR] == []


def test_the_sender_of_a_dropped_client_starts_no_threads(spool_path: Path) -> None:
    sdk = client("http://127.0.0.1:1", spool_path)
    assert sdk._share
    sender, spool = sdk._share.sender, sdk._share.sender.spool
    del sdk
    wait_until(lambda: sender.users.ended)
    sender.start()
    wait_until(lambda: not sender._uploads.running)
    wait_until(lambda: spool._database.closed)


AT_EXIT = """
import atexit, sys
late = lambda: print(sdk.close_session("after"), flush=True)
atexit.register(late)  # before the SDK's own, so it runs after it
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(flush_interval_ms=3_600_000, flush_timeout_seconds=60))
if sys.argv[1:]:
    print(sdk.close_session("at first"), flush=True)
atexit.register(lambda: print(sdk.close_session("before"), flush=True))
"""


def test_events_of_exit_handlers_are_kept_in_any_order(connect_server: ConnectServer, spool_path: Path) -> None:
    first, before, after = finished(AT_EXIT, connect_server.url, spool_path, "first").split()
    assert connect_server.ids() == [first, before]
    with client(connect_server.url, spool_path) as sdk:
        assert sdk.flush()
    assert connect_server.ids() == [first, before, after]


def test_the_exit_does_not_wait_if_no_thread_can_be_started(connect_server: ConnectServer, spool_path: Path) -> None:
    ids = finished(AT_EXIT, connect_server.url, spool_path, timeout=30).split()
    with client(connect_server.url, spool_path) as sdk:
        assert sdk.flush()
    assert connect_server.ids() == ids


def test_daemon_threads_that_still_record_do_not_disturb_the_exit(
    connect_server: ConnectServer, spool_path: Path, tmp_path: Path
) -> None:
    orders = Orders("parent", str(tmp_path / "journal"), config={"flush_interval_ms": 1, "flush_timeout_seconds": 1})
    arguments = ("just_ends", orders.encoded(), "")
    with worker(processes.LIFE, connect_server.url, spool_path, *arguments, stderr=subprocess.PIPE) as process:
        _, logged = process.communicate(timeout=60)
    assert process.returncode == 0
    assert [line for line in logged.splitlines() if "are not sent yet" not in line] == []
    lines = (tmp_path / "journal").read_text().split("\n")
    done = {line.removeprefix("done ") for line in lines if line.startswith("done ")}
    with client(connect_server.url, spool_path) as sdk:
        assert sdk.flush()
    assert done <= set(connect_server.ids())


# -- gevent ------------------------------------------------------------------------------------------------------------

LATE_PATCH = """
import os, sys, time
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(flush_interval_ms=20, flush_timeout_seconds=20))
pid = os.fork()
if not pid:
    import warnings
    warnings.simplefilter("ignore")
    from gevent import monkey, spawn, sleep
    monkey.patch_all()
    sdk.close_session("s1")
    for _ in range(50):
        sleep(0.001)  # returns only if no thread of the SDK blocks all greenlets
    assert sdk.flush()
    sdk.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_worker_that_gevent_patches_after_the_fork_goes_on(connect_server: ConnectServer, spool_path: Path) -> None:
    pytest.importorskip("gevent")
    finished(LATE_PATCH, connect_server.url, spool_path, timeout=30)
    assert len(connect_server.ids()) == 1
