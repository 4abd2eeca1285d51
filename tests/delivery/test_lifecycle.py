"""From the first client to the last: closing, forgetting, forks, signals, and the interpreter's exit."""

from __future__ import annotations

import gc
import json
import threading
import time
from typing import TYPE_CHECKING

import pytest
from connectrpc.code import Code

from alignai import ClosedError, SpoolBusyError
from tests.delivery.test_sender import LONG, lease_held_elsewhere, threads
from tests.support.clients import client, finished, inspect, record, repeated_under_another_id, worker
from tests.support.servers.connect import refuse
from tests.support.servers.raw import silence
from tests.support.waiting import BUSY_TIMEOUT_SECONDS, wait_until
from tests.test_client import CALLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer
    from tests.support.servers.raw import RawServer


# -- closing -----------------------------------------------------------------------------------------------------------


def test_leaving_the_block_sends_what_is_left(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path, flush_interval_ms=LONG) as sdk:
        ids = record(sdk, 3)
    assert connect_server.ids() == ids
    assert threads() == []


def test_closing_twice_does_no_harm(connect_server: ConnectServer, spool_path: Path) -> None:
    sdk = client(connect_server.url, spool_path, flush_interval_ms=LONG)
    ids = record(sdk, 3)
    sdk.close()
    sdk.close()
    assert connect_server.ids() == ids


def test_closing_from_several_threads_at_once_does_no_harm(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = client(connect_server.url, spool_path, flush_interval_ms=LONG)
    ids = record(sdk, 60)
    closing = [threading.Thread(target=sdk.close) for _ in range(8)]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join()
    assert connect_server.ids() == ids
    assert threads() == []
    assert caplog.messages == []


def test_a_hasty_close_ends_a_patient_one(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connect_server.respond = refuse(Code.UNAVAILABLE)
    sdk = client(connect_server.url, spool_path)
    record(sdk, 3)
    patient = threading.Thread(target=sdk.close, args=(3600,))
    patient.start()
    sdk.close(0.2)
    patient.join(BUSY_TIMEOUT_SECONDS)
    assert not patient.is_alive()
    assert "could not be flushed" not in caplog.text


def test_close_lets_an_upload_under_way_end_where_there_is_time(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flushing = threading.Event()
    connect_server.respond = lambda request: flushing.wait(BUSY_TIMEOUT_SECONDS) and time.sleep(0.2)
    sdk = client(connect_server.url, spool_path, flush_interval_ms=0.001)
    with client(connect_server.url, spool_path, sender=False) as other:
        record(sdk, 1)
        wait_until(lambda: connect_server.requests)
        closing = threading.Thread(target=sdk.close)
        closing.start()
        wait_until(lambda: sdk._share and sdk._share.sender.cycle._flush_to)
        record(other, 1)  # close does not wait for it, but it is uploaded as soon as the events before have arrived
        flushing.set()
        closing.join()
    assert len(connect_server.requests) == len(connect_server.ids()) == 2
    assert caplog.messages == []


@pytest.mark.parametrize("method", [*CALLS, "flush"])
def test_after_close_methods_say_that_it_is_closed(spool_path: Path, method: str) -> None:
    sdk = client("http://127.0.0.1:1", spool_path)
    sdk.close()
    with pytest.raises(ClosedError, match=method):
        getattr(sdk, method)(*CALLS.get(method, ()))


def test_events_that_close_leaves_are_logged_once_with_count_and_path(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connect_server.respond = refuse(Code.UNAVAILABLE)
    sdk = client(connect_server.url, spool_path, flush_interval_ms=LONG)
    ids = record(sdk, 3)
    sdk.close(0.2)
    sdk.close(0.2)
    left = [text for text in caplog.messages if "not sent yet" in text]
    assert left == [f"3 events are not sent yet (kept in {spool_path})"]
    connect_server.respond = None
    with client(connect_server.url, spool_path) as sdk:
        assert sdk.flush()
    assert connect_server.ids() == ids


def test_close_drains_where_another_process_holds_the_lease(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with lease_held_elsewhere(connect_server.url, spool_path):
        sdk = client(connect_server.url, spool_path, flush_interval_ms=LONG)
        ids = record(sdk, 3)
        sdk.close()
        assert connect_server.ids()[1:] == ids
    assert caplog.messages == []


def test_close_says_what_remains_where_another_process_holds_the_lease(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with lease_held_elsewhere(connect_server.url, spool_path):
        connect_server.respond = refuse(Code.UNAVAILABLE)
        sdk = client(connect_server.url, spool_path, flush_interval_ms=LONG)
        record(sdk, 3)
        sdk.close(0.3)
        assert caplog.messages == [f"3 events are not sent yet (kept in {spool_path})"]


# -- forgetting --------------------------------------------------------------------------------------------------------


def test_a_client_that_is_forgotten_is_sent_and_its_threads_end(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    sdk = client(connect_server.url, spool_path, flush_interval_ms=LONG)
    ids = record(sdk, 3)
    del sdk
    gc.collect()
    wait_until(lambda: connect_server.ids() == ids)
    wait_until(lambda: not threads())


def test_a_client_that_only_appends_can_be_forgotten(spool_path: Path) -> None:
    sdk = client("http://127.0.0.1:1", spool_path, sender=False)
    record(sdk, 3)
    del sdk
    gc.collect()
    wait_until(lambda: not threads())


def test_a_client_that_never_recorded_can_be_forgotten(spool_path: Path) -> None:
    sdk = client("http://127.0.0.1:1", spool_path)
    del sdk
    gc.collect()
    wait_until(lambda: not threads())


# -- interruptions -----------------------------------------------------------------------------------------------------


def test_finalisers_may_record_and_flush(connect_server: ConnectServer, spool_path: Path) -> None:
    class Conversation:
        def __init__(self) -> None:
            self.itself = self  # so that the collector finds it, in the midst of anything

        def __del__(self) -> None:
            try:
                ids.extend(record(sdk, 1))
                sdk.flush(0)
            except SpoolBusyError:  # during the sender's own work, in which a wait would never end
                refused.append(self)

    ids: list[str] = []
    refused: list[Conversation] = []
    with client(connect_server.url, spool_path) as sdk:
        threshold = gc.get_threshold()
        gc.set_threshold(10)
        try:
            for _ in range(300):
                Conversation()
                ids += record(sdk, 1)
        finally:
            gc.set_threshold(*threshold)
        wait_until(lambda: gc.collect() >= 0 and len(ids) + len(refused) == 600)
        assert sdk.flush()
    assert sorted(connect_server.ids()) == sorted(ids)


SIGNALS = """
import json, signal, sys, time
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_interval_ms=20, flush_timeout_seconds=30, synchronous=sys.argv[1]))
ids = {"main": [], "handler": []}

def handle(number, frame):
    ids["handler"].append(sdk.create_message("s2", len(ids["handler"]) + 1, "user", "from a handler"))
    sdk.flush(0.005)
    signal.setitimer(signal.ITIMER_REAL, 0.01)  # not before: a slow machine would do nothing but handle signals

signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.001)
while len(ids["handler"]) < 60:
    ids["main"].append(sdk.create_message("s1", len(ids["main"]) + 1, "user", "from the main thread"))
    if len(ids["main"]) % 50 == 0:
        sdk.flush(0.005)
signal.setitimer(signal.ITIMER_REAL, 0)
sdk.close()
print(json.dumps(ids))
"""


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_a_signal_handler_may_record_and_flush_while_its_thread_records(
    connect_server: ConnectServer, spool_path: Path, synchronous: str
) -> None:
    ids = json.loads(finished(SIGNALS, connect_server.url, spool_path, synchronous))
    received = connect_server.ids()
    assert len(ids["handler"]) >= 60
    assert sorted(received) == sorted(ids["main"] + ids["handler"])
    assert [each for each in received if each in set(ids["main"])] == ids["main"]


CLOSED_BY_SIGNAL = """
import signal, sys
from alignai import AlignAI, ClosedError, Config, SpoolError

sdk = AlignAI(config=Config(flush_interval_ms=20))
signal.signal(signal.SIGALRM, lambda number, frame: sdk.close(1))
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    for number in range(1, 10_000_000):
        print(sdk.create_message("s1", number, "user", "hello"))
except (ClosedError, SpoolError):
    pass
"""


def test_a_signal_handler_may_close(connect_server: ConnectServer, spool_path: Path) -> None:
    acknowledged = finished(CLOSED_BY_SIGNAL, connect_server.url, spool_path).split()
    with client(connect_server.url, spool_path) as sdk:
        assert sdk.flush()
    assert set(acknowledged) <= set(connect_server.ids())
    assert repeated_under_another_id(connect_server) == []


# -- forks -------------------------------------------------------------------------------------------------------------

FORK = """
import os, sys
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_interval_ms=20, flush_timeout_seconds=30))
say = lambda text: os.write(1, (text + "\\n").encode())
number = 0

def record(times):
    global number
    for _ in range(times):
        number += 1
        say(sdk.create_message(f"s{os.getpid()}", number, "user", "hello"))

record(int(sys.argv[1]))
children = []
for _ in range(4):
    child = os.fork()
    if not child:
        record(50)
        if sys.argv[2] == "close":
            sdk.close()
        if sys.argv[2] == "exit":
            sys.exit()
        os._exit(0)
    children.append(child)
    record(50)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
sdk.close()
"""


@pytest.mark.parametrize("end", ["close", "exit", "just end"])
@pytest.mark.parametrize("before", [0, 30])
def test_both_sides_of_a_fork_record_and_nothing_is_lost(
    connect_server: ConnectServer, spool_path: Path, before: int, end: str
) -> None:
    acknowledged = finished(FORK, connect_server.url, spool_path, str(before), end).split()
    assert len(acknowledged) == before + 400
    assert set(connect_server.ids()) == set(acknowledged)
    assert repeated_under_another_id(connect_server) == []


FORKED_CHILD_OUTLIVES = """
import os, sys, time
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_interval_ms=20))
sdk.close_session("parent")
assert sdk.flush(20)
ready, go = os.pipe()
if not os.fork():
    os.close(go)
    os.read(ready, 1)  # until the parent is dead
    print(sdk.close_session("child"), flush=True)
    assert sdk.flush(20)
    os._exit(0)
os.kill(os.getpid(), 9)
"""


def test_a_child_takes_over_the_lease_of_its_dead_parent(connect_server: ConnectServer, spool_path: Path) -> None:
    with worker(FORKED_CHILD_OUTLIVES, connect_server.url, spool_path) as process:
        assert process.stdout
        acknowledged = process.stdout.read().split()
    wait_until(lambda: connect_server.ids()[1:] == acknowledged)
    assert len(acknowledged) == 1


IDLE_CHILD = """
import os
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_interval_ms=20))
print(sdk.close_session("parent"), flush=True)
assert sdk.flush(20)
print("flushed", flush=True)
if os.fork():
    os.kill(os.getpid(), 9)
os.read(0, 1)  # the child does nothing, until the test is over
"""


def test_an_idle_child_does_not_keep_the_lease_of_its_dead_parent(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    with worker(IDLE_CHILD, connect_server.url, spool_path) as parent:
        assert parent.stdout
        assert parent.stdout.readline()
        assert parent.stdout.readline() == "flushed\n"
        assert parent.wait(BUSY_TIMEOUT_SECONDS) == -9
        with client(connect_server.url, spool_path) as sdk:
            ids = record(sdk, 1)
            wait_until(lambda: connect_server.ids()[1:] == ids, 5)


# -- the interpreter's exit --------------------------------------------------------------------------------------------

JUST_ENDS = """
import sys
from alignai import AlignAI, Config

allowed, sends = float(sys.argv[1]), sys.argv[2] == "True"
sdk = AlignAI(config=Config(flush_interval_ms=3_600_000, flush_timeout_seconds=allowed, sender=sends))
for number in range(1, 61):
    print(sdk.create_message("s1", number, "user", "hello"))
"""


def test_a_process_that_just_ends_has_its_events_sent(connect_server: ConnectServer, spool_path: Path) -> None:
    ids = finished(JUST_ENDS, connect_server.url, spool_path, "30", "True").split()
    assert connect_server.ids() == ids


def test_an_error_that_ends_a_process_does_not_keep_its_events(connect_server: ConnectServer, spool_path: Path) -> None:
    script = JUST_ENDS + "import os\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    sys.exit(0)\n"
    ids = finished(script, connect_server.url, spool_path, "30", "True").split()
    assert connect_server.ids() == ids


@pytest.mark.parametrize(("allowed", "sends"), [(1.0, True), (30.0, False)])
def test_the_exit_is_held_up_no_longer_than_configured(
    raw_server: Callable[..., RawServer], spool_path: Path, *, allowed: float, sends: bool
) -> None:
    server = raw_server(silence)
    start = time.monotonic()
    finished(JUST_ENDS, server.url, spool_path, str(allowed), str(sends))
    assert time.monotonic() - start < 10
    found = inspect(spool_path)
    assert found["pending"] + found["in_flight"] == 60
