"""Group commit continues if any exception ends the leader or a waiting call."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from alignai.spool.group_commit import GroupCommit, Rows
from tests.support.interrupts import TimeLimitError, interrupt
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alignai.spool import Spool

DEADLINE = 30


class Table:
    """A store of committed groups. The first commit waits for permission to continue."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.entered = threading.Event()
        self.opened = threading.Event()

    def commit(self, rows: Rows[int]) -> int:
        self.entered.set()
        assert self.opened.wait(DEADLINE)
        self.rows += rows
        rows.last = len(self.rows)
        return rows.last


def with_followers(table: Table, group: GroupCommit[int], lead: Callable[[], object]) -> list[int]:
    """Let followers queue while *lead* commits the first group, and return the numbers of their rows."""
    with ThreadPoolExecutor(4) as threads:
        leader = threads.submit(lead)
        assert table.entered.wait(DEADLINE)
        followers = [threads.submit(group.append, row) for row in (1, 2, 3)]
        wait_until(lambda: len(group._queue) + len(group._taken) >= 3)
        table.opened.set()
        leader.result(DEADLINE)
        return [each.result(DEADLINE) for each in followers]


def test_followers_of_an_interrupted_leader_are_committed_once() -> None:
    at = 0
    where = "at first"
    while where:
        at += 1
        table = Table()
        group = GroupCommit(table.commit)

        def lead(at: int = at, group: GroupCommit[int] = group, table: Table = table) -> None:
            nonlocal where
            where = interrupt(lambda: group.append(0), at)
            table.entered.set()  # for a leader that did not come so far

        numbers = with_followers(table, group, lead)

        assert [table.rows[number - 1] for number in numbers] == [1, 2, 3]
        assert max(Counter(table.rows).values()) == 1
        assert group.append(4) == len(table.rows)
    assert at > 30


def test_the_next_leader_commits_the_rows_of_an_interrupted_one() -> None:
    table = Table()
    groups: list[list[int]] = []

    def commit(rows: Rows[int]) -> int:
        groups.append(rows)
        if len(groups) == 2:
            raise TimeLimitError
        return table.commit(rows)

    group = GroupCommit(commit)
    outcomes: list[object] = []

    def append(row: int) -> None:
        try:
            outcomes.append(group.append(row))
        except TimeLimitError:
            outcomes.append("interrupted")

    with ThreadPoolExecutor(4) as threads:
        threads.submit(append, 0)
        assert table.entered.wait(DEADLINE)
        for row in (1, 2, 3):
            threads.submit(append, row)
            wait_until(lambda row=row: len(group._queue) == row)  # type: ignore[misc]
        table.opened.set()

    assert groups[:2] == [[0], [1, 2, 3]]
    assert sorted(map(str, outcomes)) == ["1", "2", "3", "interrupted"]
    assert len(table.rows) == 3


def test_a_leader_interrupted_after_the_commit_still_hands_out_numbers() -> None:
    table = Table()

    def commit(rows: Rows[int]) -> int:
        table.commit(rows)
        if 1 in rows:
            raise TimeLimitError
        return rows.last

    group = GroupCommit(commit)
    with ThreadPoolExecutor(4) as threads:
        leader = threads.submit(group.append, 0)
        assert table.entered.wait(DEADLINE)
        followers = []
        for row in (1, 2, 3):
            followers.append(threads.submit(group.append, row))
            wait_until(lambda row=row: len(group._queue) == row)  # type: ignore[misc]
        table.opened.set()
        told = []
        for each in [leader, *followers]:
            with suppress(TimeLimitError):
                told.append(each.result(DEADLINE))

    assert table.rows == [0, 1, 2, 3]
    assert len(told) == 3  # only the leader was interrupted
    assert set(told) < {1, 2, 3, 4}


def test_a_leader_whose_row_is_already_committed_gives_up_the_lead() -> None:
    table = Table()
    table.opened.set()
    group = GroupCommit(table.commit)
    queued, go_on = threading.Event(), threading.Event()
    leading = group._leading

    class SlowToLead:
        """Lets another leader come between a caller's row and its asking for the lead."""

        def acquire(self, *, blocking: bool = True) -> bool:
            if threading.current_thread() is slow and not go_on.is_set():
                queued.set()
                go_on.wait(DEADLINE)
            return leading.acquire(blocking=blocking)

        def release(self) -> None:
            leading.release()

    group._leading = SlowToLead()  # type: ignore[assignment]
    slow = threading.Thread(target=group.append, args=[1])
    slow.start()
    assert queued.wait(DEADLINE)
    assert group.append(2) == 2
    go_on.set()
    slow.join(DEADLINE)
    later = threading.Thread(target=group.append, args=[3], daemon=True)
    later.start()
    later.join(DEADLINE)

    assert table.rows == [1, 2, 3]


# -- with the spool ----------------------------------------------------------------------------------------------------


def at_depth(depth: int, call: Callable[[], object]) -> object:
    return call() if depth <= 0 else at_depth(depth - 1, call)


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_a_stack_that_is_full_at_any_depth_of_a_call_leaves_nothing_behind(
    open_spool: Callable[..., Spool], path: Path, synchronous: str
) -> None:
    spool = open_spool(synchronous=synchronous)
    calls: list[Callable[[], object]] = [
        lambda: spool.append(b"deep"),
        spool.stats,
        lambda: spool.next_batch(5, 1 << 20),
        spool.maintain,
    ]
    for call in calls:
        call()
        depth, ends = 1000, 0
        while ends < 3:
            depth -= 1
            try:
                at_depth(depth, call)
                ends += 1  # the end of one statement may make room for another
            except RecursionError:
                continue
            seqs: list[int] = []
            other = threading.Thread(target=lambda: seqs.append(spool.append(b"after")), daemon=True)  # noqa: B023
            other.start()
            other.join(DEADLINE)
            assert seqs == [spool.last_seq()], f"at depth {depth}"
    assert spool.check() == []
