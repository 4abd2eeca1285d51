"""Group commit: threads that append at the same moment share one commit, and so one fsync."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from .errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MOST = 128
"""Rows in one commit."""


class _Ticket(Generic[T]):
    """One caller's row, and what became of it."""

    def __init__(self, row: T) -> None:
        self.row = row
        self.seq = 0
        self.error: BaseException | None = None
        self.done = False
        self._turn = threading.Lock()
        self._turn.acquire()

    def wait(self) -> None:
        """Until the row is committed, or it is this caller's turn to lead."""
        self._turn.acquire()

    def call(self) -> None:
        """Let the caller go on."""
        self._turn.release()

    def result(self) -> int:
        if self.error is None:
            return self.seq
        if isinstance(self.error, SpoolError):
            raise type(self.error)(*self.error.args) from self.error
        raise SpoolError("the commit that this event shared was interrupted - append it again") from self.error


class GroupCommit(Generic[T]):
    """
    Leader and followers.

    A lone caller commits its own row at once. Who comes while a commit is under way queues; when it ends, the first
    of the queue commits for all of them.
    """

    def __init__(self, commit: Callable[[list[T]], int]) -> None:
        """Take *commit*, which appends consecutive rows in one transaction and returns the number of the last."""
        self._commit = commit
        self._queue: deque[_Ticket[T]] = deque()
        self._leading = threading.Lock()
        self._leader: int | None = None

    def append(self, row: T) -> int:
        """
        Commit *row*, alone or with others.

        Returns:
            The row's number.

        Raises:
            SpoolError: What the commit raised; the row is not spooled then.
        """
        if self._leader == threading.get_ident():
            # A signal handler or a finaliser on top of our own commit: whoever waits here waits for itself.
            return self._commit([row])
        ticket = _Ticket(row)
        self._queue.append(ticket)
        if not self._leading.acquire(blocking=False):
            ticket.wait()
        if not ticket.done:
            self._lead()
        return ticket.result()

    def _lead(self) -> None:
        group = [self._queue.popleft() for _ in range(min(len(self._queue), MOST))]
        self._leader = threading.get_ident()
        try:
            last = self._commit([ticket.row for ticket in group])
            for seq, ticket in enumerate(group, start=last - len(group) + 1):
                ticket.seq = seq
        except BaseException as error:
            for ticket in group:
                ticket.error = error
            if not isinstance(error, SpoolError):
                raise
        finally:
            self._leader = None
            for ticket in group:
                ticket.done = True
                ticket.call()
            self._hand_over()

    def _hand_over(self) -> None:
        """Make the first of the queue the leader; where there is none, the next caller will be."""
        while self._queue:
            try:
                self._queue[0].call()
            except IndexError:
                continue
            return
        self._leading.release()
        # Who queued between the look and the release found the lead taken, and waits.
        if self._queue and self._leading.acquire(blocking=False):
            self._hand_over()
