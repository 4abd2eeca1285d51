"""Forks: no thread of the SDK runs at that instant, and uploads get through all the same."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from alignai._delivery import lifecycle
from tests.delivery.test_sender import LONG, OURS, threads
from tests.delivery.test_sender_threads import backlog
from tests.faults.processes.scenario import visit
from tests.support.clients import client, finished, record, worker
from tests.support.servers.raw import silence
from tests.support.waiting import BUSY_TIMEOUT_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer
    from tests.support.servers.raw import RawServer

STRICT = {"PYTHONWARNINGS": "error::DeprecationWarning"}
"""
From 3.12 on, Python warns of forks in processes with threads.

Up to 3.13.9 and 3.14.0 it counts them after the hooks that start them again (python/cpython#137109). So the threads
that run at the instant itself are counted here.
"""


def test_no_thread_of_the_sdk_runs_at_the_instant_of_a_fork(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path) as sdk:
        record(sdk, 1)
        assert sdk.flush()
        lifecycle._before_fork()
        during = threads()
        lifecycle._after_fork_in_parent()
        assert during == []
        assert threads() == list(OURS)


FORKER = """
import os, sys, time
os.register_at_fork(before=lambda: print(len(os.listdir("/proc/self/task"))) if sys.platform == "linux" else None)
from alignai import AlignAI, Config  # the hooks of later imports run before the one above

sdk = AlignAI(config=Config(flush_interval_ms=20))
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    print(sdk.close_session("s"), flush=True)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.05)
print(sdk.stats().sent)
os._exit(0)
"""


def test_uploads_get_through_while_the_process_forks_all_the_time(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    connect_server.respond = lambda request: time.sleep(0.2)
    *printed, sent = finished(FORKER, connect_server.url, spool_path, "3", env=STRICT).split()
    recorded = [each for each in printed if each != "1"]
    assert int(sent) >= len(recorded) / 2
    assert connect_server.ids()[: int(sent)] == recorded[: int(sent)]


SERVER_HANGS = """
import os, time
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_interval_ms=1, flush_timeout_seconds=0))
sdk.close_session("s")
input()  # until the upload is under way
begin = time.monotonic()
for _ in range(20):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
print(time.monotonic() - begin, flush=True)
"""


def test_forks_do_not_wait_for_a_server_that_hangs(raw_server: Callable[..., RawServer], spool_path: Path) -> None:
    asked = threading.Event()

    def hang(*arguments: object) -> None:
        asked.set()
        silence(*arguments)  # type: ignore[arg-type]

    server = raw_server(hang)
    with worker(SERVER_HANGS, server.url, spool_path) as process:
        assert asked.wait(BUSY_TIMEOUT_SECONDS)
        output, _ = process.communicate("\n", timeout=60)
    assert float(output) < 4


CHILD = """
import os, sys
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_interval_ms=20))
if os.fork():
    os.kill(os.getpid(), 9)
sys.stdin.read()  # the child records nothing
os._exit(0)
"""


def test_a_forked_child_that_records_nothing_takes_over(connect_server: ConnectServer, spool_path: Path) -> None:
    with worker(CHILD, connect_server.url, spool_path) as parent:
        assert parent.wait(BUSY_TIMEOUT_SECONDS) == -9
        ids = backlog(spool_path)
        wait_until(lambda: connect_server.ids() == ids)
        assert parent.stdin
        parent.stdin.close()


def test_gunicorn_uploads_a_backlog_before_the_first_request(connect_server: ConnectServer, spool_path: Path) -> None:
    pytest.importorskip("gunicorn")
    bound = spool_path.with_name("socket")
    ids = backlog(spool_path, 200)
    script = "from gunicorn.app.wsgiapp import run; run()"
    options = ["--preload", "--workers", "2", "--bind", f"unix:{bound}", "--worker-tmp-dir", str(spool_path.parent)]
    options += ["--log-level", "warning", "--no-control-socket", "--graceful-timeout", "5"]
    options += ["tests.support.prefork_app:app"]
    errors = spool_path.with_name("errors")
    with (
        errors.open("w") as log,
        worker(script, connect_server.url, spool_path, *options, env=STRICT, stderr=log) as master,
    ):
        try:
            wait_until(lambda: connect_server.ids() == ids)
            wait_until(bound.exists)
            with ThreadPoolExecutor(4) as visitors:
                answers = list(visitors.map(lambda _: visit(bound), range(20)))
            master.terminate()
            assert master.wait(60) == 0
        finally:
            master.kill()
    assert answers == [0] * 20
    assert errors.read_text() == ""
    with client(connect_server.url, spool_path, flush_interval_ms=LONG) as sdk:
        assert sdk.flush()
    assert len(set(connect_server.ids())) == len(connect_server.ids()) == 240
