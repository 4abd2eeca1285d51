"""The sender's threads: there before the first event, started again if they die, done without if there can be none."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from connectrpc.code import Code

from alignai.spool import Lease
from tests.delivery.test_sender import LONG, OURS, holder, lease_held_elsewhere, threads
from tests.support.clients import client, finished, record
from tests.support.servers.connect import refuse
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer


def backlog(spool_path: Path, count: int = 3) -> list[str]:
    """Events that a process has left behind."""
    with client("http://127.0.0.1:1", spool_path, sender=False) as sdk:
        return record(sdk, count)


def kill(name: str) -> None:
    """Throw SystemExit into the thread of that name."""
    thread = next(thread for thread in threading.enumerate() if thread.name == name)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    wait_until(lambda: not thread.is_alive())


def kill_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill both threads, as if neither could be started again."""
    with monkeypatch.context() as dead:
        dead.setattr("alignai._delivery.background.BackgroundThread.start", lambda *_: None)
        while running := threads():  # one may have been in the middle of starting the other
            kill(running[0])


# -- without recording -------------------------------------------------------------------------------------------------


def test_a_process_that_records_nothing_uploads_pending_events(connect_server: ConnectServer, spool_path: Path) -> None:
    ids = backlog(spool_path)
    with client(connect_server.url, spool_path):
        wait_until(lambda: connect_server.ids() == ids)


def test_a_process_that_records_nothing_takes_over_from_a_killed_uploader(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    with lease_held_elsewhere(connect_server.url, spool_path) as elsewhere:
        sdk = client(connect_server.url, spool_path)
        ids = backlog(spool_path)
        assert holder(sdk) == elsewhere
    wait_until(lambda: connect_server.ids()[1:] == ids)
    sdk.close()


def test_importing_starts_no_thread(spool_path: Path) -> None:
    script = "import threading, alignai; print(threading.active_count())"
    assert finished(script, "http://127.0.0.1:1", spool_path) == "1\n"


# -- threads that die --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_a_thread_that_is_killed_is_started_again_without_an_event(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with client(connect_server.url, spool_path) as sdk:
        ids = record(sdk, 1)
        assert sdk.flush()
        kill(name)
        wait_until(lambda: threads() == list(OURS))
        ids += backlog(spool_path)
        wait_until(lambda: connect_server.ids() == ids)
    assert f"{name} died and is restarted (SystemExit" in caplog.text


def test_threads_killed_at_once_are_started_again_without_an_event(
    connect_server: ConnectServer, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither can then start the other."""
    with client(connect_server.url, spool_path):
        with monkeypatch.context() as alone:
            alone.setattr("alignai._delivery.threads.SenderThreads.start", lambda *_: None)
            for name in OURS:
                kill(name)
            wait_until(lambda: threads() == list(OURS))
        ids = backlog(spool_path)
        wait_until(lambda: connect_server.ids() == ids)


def test_when_both_threads_are_killed_the_next_event_starts_them_again(
    connect_server: ConnectServer, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(connect_server.url, spool_path) as sdk:
        kill_all(monkeypatch)
        assert threads() == []
        ids = record(sdk, 1)
        wait_until(lambda: connect_server.ids() == ids)


def test_a_thread_that_is_killed_gives_the_lease_back(
    connect_server: ConnectServer, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(connect_server.url, spool_path) as sdk:
        record(sdk, 1)
        assert sdk.flush()
        with monkeypatch.context() as dead:
            dead.setattr("alignai._delivery.background.BackgroundThread.start", lambda *_: None)
            kill("alignai-sender")
            other = Lease(spool_path)
            assert other.acquire()
            other.release()


def raises(_: logging.LogRecord) -> bool:
    raise AttributeError("a filter of the program is wrong")


@pytest.fixture
def broken_logging() -> Iterator[None]:
    logging.getLogger("alignai").addFilter(raises)
    yield
    logging.getLogger("alignai").removeFilter(raises)


@pytest.mark.usefixtures("broken_logging")
def test_a_log_filter_that_raises_ends_no_thread_and_fails_no_call(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    connect_server.respond = refuse(Code.UNAVAILABLE)
    with client(connect_server.url, spool_path) as sdk:
        running = [thread for thread in threading.enumerate() if thread.name in OURS]
        ids = record(sdk, 1)
        assert not sdk.flush(0.3)
        connect_server.respond = None
        assert sdk.flush()
        assert connect_server.ids() == ids
        assert all(thread.is_alive() for thread in running)
        connect_server.respond = refuse(Code.UNAVAILABLE)
        record(sdk, 1)
        sdk.close(0.2)


@pytest.mark.parametrize("started", [False, True])
def test_a_start_that_is_interrupted_leaves_nothing_behind(
    connect_server: ConnectServer, spool_path: Path, monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    """A signal handler raises before the thread has been started, or before the call has returned."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if started:
            start(thread)
        raise KeyboardInterrupt

    with client(connect_server.url, spool_path, flush_batch_size=1) as sdk:
        kill_all(monkeypatch)
        with monkeypatch.context() as signal:
            signal.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                sdk.close_session("s1")
        ids = record(sdk, 1)
        wait_until(lambda: connect_server.ids()[1:] == ids)
        assert threads() == list(OURS)
    assert threads() == []


def test_closing_after_an_interrupted_start_raises_nothing(spool_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    sdk = client("http://127.0.0.1:1", spool_path)
    with monkeypatch.context() as signal:
        signal.setattr(threading.Thread, "start", interrupted)
        kill("alignai-sender")
        with pytest.raises(KeyboardInterrupt):
            sdk._share and sdk._share.sender.start()
        sdk.close()
    assert threads() == []


# -- without threads ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_threads")
def test_without_threads_flush_and_close_upload_on_the_calling_one(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with client(connect_server.url, spool_path, flush_interval_ms=LONG) as sdk:
        ids = record(sdk, 120)
        assert sdk.flush()
        assert connect_server.ids() == ids
        assert holder(sdk) == 0
        ids += record(sdk, 3)
    assert connect_server.ids() == ids
    (told,) = caplog.records
    assert (told.levelname, "no thread can be started" in told.getMessage()) == ("WARNING", True)


@pytest.mark.usefixtures("no_threads")
def test_without_threads_flush_keeps_its_deadline(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = lambda request: threading.Event().wait(1.5)
    with client(connect_server.url, spool_path, flush_timeout_seconds=0.1) as sdk:
        record(sdk, 1)
        begin = os.times().elapsed
        assert not sdk.flush(0.5)
        assert os.times().elapsed - begin < 1.2


NO_THREADS = """
import logging, threading
def refuse(self): raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
logging.basicConfig()
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(flush_interval_ms=3_600_000, flush_timeout_seconds=30))
for number in range(1, 61):
    print(sdk.create_message("s1", number, "user", "hello"), flush=True)
"""


def test_without_threads_the_exit_uploads(connect_server: ConnectServer, spool_path: Path) -> None:
    assert connect_server.ids() == [] != finished(NO_THREADS, connect_server.url, spool_path).split()
    assert len(connect_server.ids()) == 60


def test_threads_are_started_once_the_system_allows_it(
    connect_server: ConnectServer, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignai._delivery.threads._NO_THREAD_SECONDS", 0.0)
    with pytest.MonkeyPatch.context() as limit:
        limit.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("a limit")))
        sdk = client(connect_server.url, spool_path)
        ids = record(sdk, 1)
    ids += record(sdk, 1)
    wait_until(lambda: connect_server.ids() == ids)
    sdk.close()


def test_an_error_after_the_commit_does_not_fail_the_event(
    connect_server: ConnectServer, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise MemoryError

    with client(connect_server.url, spool_path) as sdk:
        with monkeypatch.context() as trouble:
            trouble.setattr("alignai.spool.engine.Spool.maintenance_due", property(broken))
            ids = record(sdk, 2)
        assert sdk.flush()
    assert connect_server.ids() == ids


SUBINTERPRETER = """
import os
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
script = '''
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(flush_interval_ms=3_600_000))
print(sdk.close_session("s1"), flush=True)
assert sdk.flush(20)
sdk.close()
'''
interpreters.run_string(interpreters.create(), script)
os._exit(0)  # some versions crash while they end with one
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before, subinterpreters are not isolated")
def test_in_an_isolated_subinterpreter_flush_uploads(connect_server: ConnectServer, spool_path: Path) -> None:
    host = connect_server.url.replace("127.0.0.1", "localhost")
    ids = finished(SUBINTERPRETER, host, spool_path).split()
    assert connect_server.ids() == ids
