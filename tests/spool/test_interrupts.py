"""A call that an exception ends at any of its lines leaves nothing behind: the process goes on as before."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interrupts import TimeLimitError, interrupt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alignai.spool import Batch, Spool

DEADLINE = 30

CALLS: dict[str, Callable[[Spool, Batch], object]] = {
    "append": lambda spool, _: spool.append(b"interrupted"),
    "next_batch": lambda spool, batch: spool.next_batch(5, 1 << 20, after=batch.last),
    "mark_failed": lambda spool, batch: spool.mark_failed(batch, "error"),
    "stats": lambda spool, _: spool.stats(),
    "unsettled": lambda spool, _: spool.unsettled(10),
    "upkeep": lambda spool, _: spool.upkeep(),
    "requeue": lambda spool, _: spool.requeue(),
    "request_flush": lambda spool, _: spool.request_flush(3),
}


def goes_on(spool: Spool) -> None:
    """See that other threads use the spool as before, and are shown what has just been written."""
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
def test_a_call_that_is_interrupted_at_any_line_leaves_no_lock_and_no_transaction(
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
    getattr(spool._access.links(), left_open).execute("BEGIN" if left_open == "reader" else "BEGIN IMMEDIATE")
    assert spool.last_seq() == 1
    goes_on(spool)
