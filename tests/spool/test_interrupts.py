"""A call that an exception ends at any of its lines leaves nothing behind: the process goes on as before."""

from __future__ import annotations

import errno
import random
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Self

import pytest

from alignai.spool import Spool, SpoolError
from tests.support.interrupts import TimeLimitError, interrupt
from tests.support.spool_file import payloads
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alignai.spool import Batch

DEADLINE = 30

CALLS: dict[str, Callable[[Spool, Batch], object]] = {
    "append": lambda spool, _: spool.append(b"interrupted"),
    "next_batch": lambda spool, batch: spool.next_batch(5, 1 << 20, after=batch.last),
    "mark_failed": lambda spool, batch: spool.mark_failed(batch, "error"),
    "stats": lambda spool, _: spool.stats(),
    "unsettled": lambda spool, _: spool.unsettled(10),
    "maintain": lambda spool, _: spool.maintain(),
    "requeue": lambda spool, _: spool.requeue(),
    "request_flush": lambda spool, _: spool.request_flush(3),
}


def goes_on(spool: Spool) -> None:
    """Check that other threads use the spool as before and read the newest row."""
    shown: list[bool] = []

    def use() -> None:
        seq = spool.append(b"after")
        shown.append(spool.last_seq() == seq)
        spool.request_flush(seq)
        shown.append(spool.totals().flush_to == seq)

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert shown == [True, True]


def may_be_written_by_others(path: Path) -> bool:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
    return True


@pytest.mark.parametrize("error", [TimeLimitError, TimeoutError, ValueError])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_call_interrupted_at_any_line_leaves_no_lock_or_transaction(
    spool: Spool, path: Path, call: Callable[[Spool, Batch], object], error: type[BaseException]
) -> None:
    for _ in range(12):
        spool.append(b"before")
    batch = spool.next_batch(5, 1 << 20)
    assert batch
    for at in count(1):
        spool.append(b"before")
        if not interrupt(lambda: call(spool, batch), at, error):
            break
        assert may_be_written_by_others(path)
        goes_on(spool)
    assert at > 10
    assert spool.check() == []
    assert list(spool.notices()) == []


@pytest.mark.parametrize("left_open", ["reader", "ledger"])
def test_a_transaction_that_is_left_open_is_rolled_back_by_the_next_call(spool: Spool, left_open: str) -> None:
    spool.append(b"before")
    getattr(spool._database.connections(), left_open).execute("BEGIN" if left_open == "reader" else "BEGIN IMMEDIATE")
    assert spool.last_seq() == 1
    goes_on(spool)


# -- with other threads at work ----------------------------------------------------------------------------------------


class Others:
    """Threads that record, read and maintain the spool. Their calls are not refused if others are interrupted."""

    def __init__(self, spool: Spool) -> None:
        self.acknowledged: list[bytes] = []
        self.refused: list[BaseException] = []
        self._spool = spool
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=[number], daemon=True) for number in range(3)]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join(DEADLINE)
        assert not any(each.is_alive() for each in self._threads), "a thread hangs"
        assert self.refused == []

    def wait(self) -> None:
        """Wait until each of them has got on."""
        target = len(self.acknowledged) + 2 * len(self._threads)
        wait_until(lambda: len(self.acknowledged) >= target or self.refused, DEADLINE)

    def _work(self, number: int) -> None:
        try:
            for turn in count():
                if self._stop.is_set():
                    break
                payload = b"%d of %d" % (turn, number)
                self._spool.append(payload)
                self.acknowledged.append(payload)
                if not turn % 5:
                    self._spool.stats()
                if not turn % 20:
                    self._spool.maintain()
        except BaseException as error:  # noqa: BLE001 - any exception is a finding
            self.refused.append(error)


@pytest.mark.parametrize("synchronous", ["normal", "full"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_interrupted_call_neither_blocks_threads_nor_loses_events(
    open_spool: Callable[..., Spool], path: Path, call: Callable[[Spool, Batch], object], synchronous: str
) -> None:
    spool = open_spool(synchronous=synchronous)
    for _ in range(12):
        spool.append(b"before")
    batch = spool.next_batch(5, 1 << 20)
    assert batch
    rng = random.Random(5)
    interrupted = 0
    with Others(spool) as others:
        at = rng.randrange(1, 8)
        while interrupt(lambda: call(spool, batch), at):
            interrupted += 1
            others.wait()
            at += rng.randrange(1, 8)
        spool.append(b"at last")

    stored = Counter(payloads(path))
    assert {payload: stored[payload] for payload in others.acknowledged} == dict.fromkeys(others.acknowledged, 1)
    assert stored[b"interrupted"] <= interrupted + 1
    assert spool.check() == []
    assert list(spool.notices()) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # interrupted closes
@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_a_construction_or_close_that_is_interrupted_leaves_nothing_behind(path: Path, synchronous: str) -> None:
    keeper = Spool(path, project_id="project", synchronous=synchronous)
    rng = random.Random(7)
    for act in (lambda: Spool(path, project_id="project", synchronous=synchronous), "close"):
        at = 0
        where = "at first"
        while where:
            at += rng.randrange(1, 15)
            spool = Spool(path, project_id="project", synchronous=synchronous)
            spool.append(b"event")
            where = interrupt(spool.close if act == "close" else act, at)  # type: ignore[arg-type]
            assert may_be_written_by_others(path)
            goes_on(keeper)
            spool.close()
            assert spool._database.opened is None
    keeper.close()


def test_a_signal_handlers_system_error_is_not_reported_as_the_spools(spool: Spool) -> None:
    def limit() -> None:
        raise TimeoutError

    spool.append(b"event")
    with pytest.raises(TimeoutError), spool._database.reading():
        limit()
    with pytest.raises(SpoolError, match="No space left"), spool._database.reading():
        raise OSError(errno.ENOSPC, "No space left on device")
