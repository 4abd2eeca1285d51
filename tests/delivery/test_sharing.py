"""Clients of one process that want the same share a spool, its connections and two threads."""

from __future__ import annotations

import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from connectrpc.code import Code

from alignai import ClosedError, SpoolMismatchError
from alignai.client import AlignAI
from alignai.config import Config
from tests.delivery.test_sender import LONG, OURS, threads
from tests.support.clients import client, finished, record
from tests.support.servers.connect import refuse
from tests.support.uploads import KEY
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.servers.connect import ConnectServer


def descriptors(spool_path: Path) -> int:
    """How many descriptors this process has on the files of the spool."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += str(spool_path) in str(each.readlink())
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
def test_many_clients_cost_what_one_costs(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path) as first:
        ids = record(first, 1)
        assert first.flush()
        alone = descriptors(spool_path)
        clients = [client(connect_server.url, spool_path) for _ in range(150)]
        for each in clients:
            ids += record(each, 1)
        assert first.flush()
        assert threads() == list(OURS)
        assert descriptors(spool_path) <= alone
        for each in clients:
            each.close()
        assert threads() == list(OURS)
    assert threads() == []
    assert descriptors(spool_path) == 0
    assert connect_server.ids() == ids


def test_closing_one_client_leaves_the_others_at_work(connect_server: ConnectServer, spool_path: Path) -> None:
    one, other = (client(connect_server.url, spool_path, flush_interval_ms=LONG) for _ in range(2))
    ids = record(one, 1)
    one.close()
    assert connect_server.ids() == ids
    for call in (lambda: record(one, 1), one.flush, one.stats):
        with pytest.raises(ClosedError):
            call()
    ids += record(other, 1)
    assert other.flush()
    other.close()
    assert connect_server.ids() == ids


def test_each_client_logs_what_it_leaves(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connect_server.respond = refuse(Code.UNAVAILABLE)
    one, other = (client(connect_server.url, spool_path) for _ in range(2))
    record(one, 1)
    one.close(0.1)
    one.close(0.1)
    assert len([each for each in caplog.messages if "not sent yet" in each]) == 1
    other.close(0.1)
    assert len([each for each in caplog.messages if "not sent yet" in each]) == 2
    wait_until(lambda: not threads())


def test_a_hasty_close_ends_a_patient_one_of_the_same_client_only(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    connect_server.respond = refuse(Code.UNAVAILABLE)
    one, other = (client(connect_server.url, spool_path) for _ in range(2))
    record(one, 1)
    patient = threading.Thread(target=one.close, args=(3600,))
    waits = threading.Thread(target=other.flush, args=(3600,))
    patient.start()
    waits.start()
    one.close(0.2)
    patient.join(20)
    assert (patient.is_alive(), waits.is_alive()) == (False, True)
    connect_server.respond = None
    waits.join(20)
    assert not waits.is_alive()
    other.close()


def test_senders_that_differ_share_the_spool(connect_server: ConnectServer, spool_path: Path) -> None:
    with (
        client(connect_server.url, spool_path) as one,
        client(connect_server.url, spool_path, flush_batch_size=7) as other,
        client(connect_server.url, spool_path, sender=False) as third,
    ):
        assert one._spool is other._spool is third._spool
        assert threads() == [*OURS, "alignai-sender"]
        ids = [each for sdk in (one, other, third) for each in record(sdk, 1)]
        assert one.flush()
        assert connect_server.ids() == ids
    assert threads() == []


def test_settings_of_recording_are_each_clients_own(connect_server: ConnectServer, spool_path: Path) -> None:
    seen: list[Any] = []
    with (
        client(connect_server.url, spool_path, before_spool=seen.append) as masked,
        client(connect_server.url, spool_path, max_event_bytes=1024) as plain,
    ):
        assert masked.close_session("s1") is None
        assert record(plain, 1)
        assert threads() == list(OURS)
        assert len(seen) == 1


def test_another_project_is_refused_beside_an_open_client(spool_path: Path) -> None:
    with client("http://127.0.0.1:1", spool_path) as sdk:
        with pytest.raises(SpoolMismatchError):
            AlignAI("ANOTHER", KEY, "http://127.0.0.1:1", Config(spool_path=spool_path))
        assert record(sdk, 1)
        sdk.close(0)


def test_a_forgotten_client_leaves_the_others_at_work(connect_server: ConnectServer, spool_path: Path) -> None:
    one, other = (client(connect_server.url, spool_path, flush_interval_ms=LONG) for _ in range(2))
    ids = record(one, 1)
    del one
    gc.collect()
    ids += record(other, 1)
    assert other.flush()
    assert threads() == list(OURS)
    del other
    gc.collect()
    wait_until(lambda: not threads())
    assert connect_server.ids() == ids


def test_a_client_may_come_while_the_last_one_goes(connect_server: ConnectServer, spool_path: Path) -> None:
    ids = []
    for number in range(20):
        sdk = client(connect_server.url, spool_path, flush_interval_ms=1)
        ids += record(sdk, 1)
        if number % 2:
            closing = threading.Thread(target=sdk.close)
            closing.start()
        else:
            del sdk
            closing = threading.Thread(target=gc.collect)
            closing.start()
        with client(connect_server.url, spool_path) as other:
            ids += record(other, 1)
        closing.join()
    with client(connect_server.url, spool_path) as last:
        assert last.flush()
    wait_until(lambda: not threads())
    assert sorted(connect_server.ids()) == sorted(ids)


def test_clients_made_by_many_threads_at_once_share(connect_server: ConnectServer, spool_path: Path) -> None:
    with ThreadPoolExecutor(8) as makers:
        clients = list(makers.map(lambda _: client(connect_server.url, spool_path), range(24)))
    assert len({id(sdk._spool) for sdk in clients}) == 1
    assert threads() == list(OURS)
    with ThreadPoolExecutor(8) as closers:
        list(closers.map(AlignAI.close, clients))
    assert threads() == []


def test_a_construction_that_is_interrupted_leaves_nothing(
    connect_server: ConnectServer, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in (
        "alignai._delivery.sharing.Sender",
        "alignai._delivery.sender.BackgroundThread",
        "alignai._delivery.threads.SenderThreads.start",
    ):
        with monkeypatch.context() as signal:
            signal.setattr(line, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                client(connect_server.url, spool_path)
        gc.collect()
        assert threads() == []
    with client(connect_server.url, spool_path) as sdk:
        ids = record(sdk, 1)
    assert connect_server.ids() == ids


FORKS = """
import os
from alignai import AlignAI, Config
one, other = (AlignAI(config=Config(flush_interval_ms=20, flush_timeout_seconds=20)) for _ in range(2))
print(one.close_session("parent"), flush=True)
child = os.fork()
if not child:
    print(one.close_session("child"), flush=True)
    one.close()
    print(other.close_session("child"), flush=True)
    assert other.flush()
    third = AlignAI(config=other.config)
    assert third._spool is other._spool
    third.close()
    other.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(other.close_session("parent"), flush=True)
one.close()
other.close()
"""


def test_clients_share_on_both_sides_of_a_fork(connect_server: ConnectServer, spool_path: Path) -> None:
    ids = finished(FORKS, connect_server.url, spool_path).split()
    assert sorted(connect_server.ids()) == sorted(ids)
    assert len(ids) == 4
