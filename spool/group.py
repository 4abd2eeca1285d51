"""Group commit: threads that append at the same moment share one commit, and so one fsync."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from .errors import SpoolError, SpoolFullError

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
        self.leads = False
        self.abandoned = False
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
        self._handing = threading.RLock()
        self._inside: set[int] = set()

    def append(self, row: T) -> int:
        """
        Commit *row*, alone or with others.

        Returns:
            The row's number.

        Raises:
            SpoolError: What the commit raised; the row is not spooled then.
        """
        thread = threading.get_ident()
        if thread in self._inside:
            # A signal handler or a finaliser on top of our own call: in the queue it would wait for itself.
            return self._commit([row])
        self._inside.add(thread)
        try:
            return self._share(_Ticket(row))
        finally:
            self._inside.discard(thread)

    def _share(self, ticket: _Ticket[T]) -> int:
        self._queue.append(ticket)
        leads = self._leading.acquire(blocking=False)
        while not ticket.done:
            if leads:
                self._lead()
            if not ticket.done:  # it is queued behind others, or behind more than one commit holds
                self._wait(ticket)
                leads = True
        return ticket.result()

    def _wait(self, ticket: _Ticket[T]) -> None:
        try:
            ticket.wait()
        except BaseException:
            self._abandon(ticket)
            raise

    def _lead(self) -> None:
        group = [ticket for ticket in self._next_group() if not ticket.abandoned]
        try:
            if group:
                self._commit_all(group)
        except BaseException as error:
            for ticket in group:
                ticket.error = None if ticket.seq else error
            if not isinstance(error, SpoolError):
                raise
        finally:
            for ticket in group:
                ticket.done = True
                ticket.call()
            self._hand_over()

    def _commit_all(self, group: list[_Ticket[T]]) -> None:
        try:
            last = self._commit([ticket.row for ticket in group])
        except SpoolFullError:
            if len(group) == 1:
                raise
            for ticket in group:
                self._commit_alone(ticket)
        else:
            for seq, ticket in enumerate(group, start=last - len(group) + 1):
                ticket.seq = seq

    def _commit_alone(self, ticket: _Ticket[T]) -> None:
        """Where there is no room for all, there may be for some."""
        try:
            ticket.seq = self._commit([ticket.row])
        except SpoolError as error:
            ticket.error = error

    def _next_group(self) -> list[_Ticket[T]]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), MOST))]

    def _hand_over(self) -> None:
        """Make the first who still waits the leader; where there is none, the next caller will be."""
        with self._handing:
            while self._queue and self._queue[0].abandoned:
                self._queue.popleft()
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].call()
                return
            self._leading.release()
        # Who queued between the look and the release found the lead taken, and waits.
        if self._queue and self._leading.acquire(blocking=False):
            self._hand_over()

    def _abandon(self, ticket: _Ticket[T]) -> None:
        """The caller was interrupted while it waited: its row is left out, and the lead goes to the next."""
        with self._handing:
            ticket.abandoned = True
            leads = ticket.leads and not ticket.done
        if leads:
            self._hand_over()
