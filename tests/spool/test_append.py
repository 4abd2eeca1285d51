"""Acknowledged means committed."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignai.spool import Spool, SpoolClosedError, SpoolFullError
from alignai.spool.group_commit import MAX_GROUP_SIZE, GroupCommit
from tests.support.processes import process, run
from tests.support.spool_file import payloads
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE = 10.0


def settle_all(spool: Spool) -> list[bytes]:
    sent: list[bytes] = []
    while batch := spool.next_batch(10, 1 << 20):
        sent += batch.payloads
        spool.mark_sent(batch)
    return sent


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_another_connection_sees_an_event_once_append_returned(
    open_spool: Callable[..., Spool], path: Path, synchronous: str
) -> None:
    spool = open_spool(synchronous=synchronous)
    for count in range(1, 20):
        spool.append(b"event")
        assert len(payloads(path)) == count
    assert spool.check() == []


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_an_event_survives_kill_9_once_append_returned(path: Path, synchronous: str) -> None:
    script = "s = spool(synchronous=sys.argv[2])\nwhile True: say(s.append(b'%d' % time.monotonic_ns()))"
    with process(script, path, synchronous) as writer:
        acknowledged = [int(writer.hear()) for _ in range(500)]
        writer.kill()
    with_what_was_under_way = len(payloads(path))

    assert acknowledged == list(range(1, 501))
    assert with_what_was_under_way >= 500


def test_numbers_rise_by_one(spool: Spool) -> None:
    assert [spool.append(b"") for _ in range(100)] == list(range(1, 101))
    assert spool.check() == []


def test_no_number_is_used_twice_after_every_event_was_sent_and_deleted(
    open_spool: Callable[..., Spool], path: Path
) -> None:
    numbers: list[int] = []
    for _ in range(3):
        spool = open_spool(retention=0)
        numbers += [spool.append(b"event") for _ in range(25)]
        settle_all(spool)
        spool.maintain()
        assert payloads(path) == [b""]  # the newest row's number is kept, its contents are not
        assert spool.check() == []
        spool.close()

    assert numbers == list(range(1, 76))


@settings(max_examples=30, deadline=None)
@given(events=st.lists(st.binary(max_size=9000), min_size=1, max_size=5))
def test_payloads_come_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, events: list[bytes]) -> None:
    spool = Spool(tmp_path_factory.mktemp("bytes") / "spool.db", project_id="project")
    try:
        for event in events:
            spool.append(event)
        batch = spool.next_batch(100, 1 << 20)

        assert batch
        assert list(batch.payloads) == events
        assert spool.check() == []
    finally:
        spool.close()


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_threads_lose_nothing_and_keep_their_own_order(open_spool: Callable[..., Spool], synchronous: str) -> None:
    spool = open_spool(synchronous=synchronous)

    def work(thread: int) -> list[int]:
        return [spool.append(b"%d %d" % (thread, i)) for i in range(100)]

    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(work, range(8)))
    sent = settle_all(spool)

    assert sorted(number for each in numbers for number in each) == list(range(1, 801))
    assert all(each == sorted(each) for each in numbers)
    assert [sent[number - 1] for number in numbers[3]] == [b"3 %d" % i for i in range(100)]
    assert spool.check() == []


def test_threads_share_commits_where_each_must_reach_the_disk(
    open_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(synchronous="full")
    commits: list[int] = []
    commit = spool._appender.append

    def slow_commit(rows: list[tuple[float, int, bytes]]) -> int:
        commits.append(len(rows))
        time.sleep(0.005)  # a disk that takes its time
        return commit(rows)

    monkeypatch.setattr(spool._group, "_commit", slow_commit)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(spool.append, [b"event"] * 320))

    assert sum(commits) == 320
    assert len(commits) <= 160
    assert spool.check() == []


def test_a_commit_of_many_events_is_one_transaction(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(synchronous="full")
    statements: list[str] = []
    spool._database.connections().append.set_trace_callback(statements.append)

    last = spool._appender.append([spool._appender.row(b"%d" % i) for i in range(50)])
    spool._database.connections().append.set_trace_callback(None)

    assert last == 50
    assert len([each for each in statements if each.startswith("INSERT")]) == 1
    assert settle_all(spool) == [b"%d" % i for i in range(50)]
    assert spool.check() == []


def test_an_event_that_is_not_bytes_is_refused_and_not_spooled(spool: Spool) -> None:
    with pytest.raises(TypeError):
        spool.append("text")  # type: ignore[arg-type]

    assert spool.last_seq() == 0
    assert spool.check() == []


def test_a_closed_spool_refuses_and_may_be_closed_twice(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool()
    spool.append(b"event")
    spool.close()
    spool.close()

    with pytest.raises(SpoolClosedError):
        spool.append(b"late")
    assert payloads(path) == [b"event"]


def test_a_spool_reached_through_a_link_is_the_same_spool(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    one, two = Spool(link, project_id="project"), Spool(path, project_id="project")
    numbers = [each.append(b"event") for each in (one, two) * 100]
    one.maintain()

    assert numbers == list(range(1, 201))
    assert one.path == two.path
    assert list(one.notices()) == []
    assert one.check() == []
    one.close()
    two.close()


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    spool = Spool(Path("spool.db"), project_id="project")
    monkeypatch.chdir(tmp_path / "elsewhere")
    numbers = [spool.append(b"event") for _ in range(200)]
    spool.close()

    assert numbers == list(range(1, 201))
    assert list((tmp_path / "elsewhere").iterdir()) == []


# -- group commit ------------------------------------------------------------------------------------------------------


class Gate:
    """A commit that waits for permission to continue and then commits, or raises *error*."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.groups: list[list[int]] = []
        self.last = 0

    def commit(self, rows: list[int]) -> int:
        self.groups.append(rows)
        self.entered.set()
        assert self.opened.wait(DEADLINE)
        if self.error and len(self.groups) > 1:
            raise self.error
        self.last += len(rows)
        return self.last


def queue_behind_a_leader(
    gate: Gate, followers: int, leader: Callable[[], int] | None = None
) -> tuple[GroupCommit[int], list[int | BaseException]]:
    """Run followers that come while a leader commits, and return the result of each, the leader first."""
    group = GroupCommit(gate.commit)

    def outcome(row: int) -> int | BaseException:
        try:
            return group.append(row)
        except Exception as error:  # noqa: BLE001 - it is the outcome
            return error

    with ThreadPoolExecutor(followers + 1) as threads:
        outcomes = [threads.submit(outcome, 0)]
        assert gate.entered.wait(DEADLINE)
        for row in range(1, followers + 1):
            outcomes.append(threads.submit(outcome, row))
            wait_until(lambda row=row: len(group._queue) == row)  # type: ignore[misc]
        gate.opened.set()
        return group, [each.result(DEADLINE) for each in outcomes]


def test_calls_that_come_during_a_commit_share_the_next_one() -> None:
    gate = Gate()
    _, numbers = queue_behind_a_leader(gate, 20)

    assert gate.groups == [[0], list(range(1, 21))]
    assert numbers == list(range(1, 22))


def test_a_commit_holds_no_more_than_its_most() -> None:
    gate = Gate()
    _, numbers = queue_behind_a_leader(gate, MAX_GROUP_SIZE + 10)

    assert [len(each) for each in gate.groups] == [1, MAX_GROUP_SIZE, 10]
    assert numbers == list(range(1, MAX_GROUP_SIZE + 12))


def test_a_caller_whom_the_first_commit_leaves_out_waits_for_the_next() -> None:
    gate = Gate()
    gate.opened.set()
    group = GroupCommit(gate.commit)
    with ThreadPoolExecutor(MAX_GROUP_SIZE + 10) as threads:
        group._leading.acquire()
        early = [threads.submit(group.append, row) for row in range(MAX_GROUP_SIZE + 10)]
        wait_until(lambda: len(group._queue) == MAX_GROUP_SIZE + 10)
        group._leading.release()  # the lead is free, and all of them wait for a leader
        last = group.append(-1)
        numbers = [each.result(DEADLINE) for each in early]

    assert last == MAX_GROUP_SIZE + 11
    assert sorted(numbers) == list(range(1, MAX_GROUP_SIZE + 11))


def test_an_error_is_handed_to_everyone_who_shared_the_commit() -> None:
    gate = Gate(SpoolFullError("no room"))
    _, outcomes = queue_behind_a_leader(gate, 5)

    assert outcomes[0] == 1
    assert [(type(each), str(each)) for each in outcomes[1:]] == [(SpoolFullError, "no room")] * 5
    assert len({id(each) for each in outcomes[1:]}) == 5  # each may add its own traceback


def test_after_an_error_the_group_works_again() -> None:
    gate = Gate(SpoolFullError("no room"))
    group, _ = queue_behind_a_leader(gate, 5)
    gate.error = None

    assert group.append(7) == 2


def test_append_inside_a_commit_of_its_thread_does_not_deadlock() -> None:
    rows: list[int] = []

    def commit(group: list[int]) -> int:
        if group == [1]:
            assert commits.append(2) == 1
        rows.extend(group)
        return len(rows)

    commits = GroupCommit(commit)

    assert commits.append(1) == 2
    assert rows == [2, 1]


INTERRUPTED = """
import random, signal, threading
s = spool(synchronous=sys.argv[2])
acknowledged = []
def handler(*_):
    acknowledged.append(s.append(b'handler'))
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 5e-4))
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 1e-4)
def work():
    for _ in range(300): s.append(b'thread')
threads = [threading.Thread(target=work) for _ in range(2)]
for each in threads: each.start()
for _ in range(800): acknowledged.append(s.append(b'main'))
for each in threads: each.join()
signal.setitimer(signal.ITIMER_REAL, 0)
assert len(set(acknowledged)) == len(acknowledged) > 805, len(acknowledged)
say(len(acknowledged) + 600, s.last_seq(), s.check())
s.close()
"""


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_append_in_a_signal_handler_loses_nothing_and_does_not_hang(path: Path, synchronous: str) -> None:
    acknowledged, stored, check = run(INTERRUPTED, path, synchronous).split(" ")

    assert acknowledged == stored
    assert check == "[]"


def test_a_follower_that_is_interrupted_leaves_the_others_going() -> None:
    """As a soft time limit or Ctrl-C does: the main thread is thrown out of its wait."""
    gate = Gate()
    group = GroupCommit(gate.commit)

    class TimeLimitError(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ThreadPoolExecutor(3) as threads:
            leader = threads.submit(group.append, 0)
            assert gate.entered.wait(DEADLINE)

            def interrupt_then_follow() -> int:
                wait_until(lambda: len(group._queue) == 1)
                os.kill(os.getpid(), signal.SIGUSR1)
                wait_until(interrupted.is_set)
                return group.append(2)

            interrupted = threading.Event()
            follower = threads.submit(interrupt_then_follow)
            with pytest.raises(TimeLimitError):
                group.append(1)
            interrupted.set()
            wait_until(lambda: len(group._queue) == 2)
            gate.opened.set()

            assert leader.result(DEADLINE) == 1
            assert follower.result(DEADLINE) == 2
            assert group.append(3) == 3
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert gate.groups == [[0], [2], [3]]
