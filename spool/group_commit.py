"""Group commit: threads that append at the same time share one commit, and so one fsync."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from .clock import monotonic
from .errors import SpoolError, SpoolFullError, is_busy
from .interruption import is_interruption
from .storage.sqlite import BusyTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_GROUP_SIZE = 128
"""Rows in one commit."""

_POLL_SECONDS = 0.05
"""How soon a waiting caller notices that a leader was interrupted before it could wake the others."""


class Rows(list[T]):
    """
    Rows that are committed together.

    Attributes:
        last: The number of the last row, or 0 until the rows are committed. The others have the numbers before it. It
            is set at the moment of the commit, so that an exception right after that does not hide the commit.
        error: Why they were not committed, or None while that is not known.
        until: When the first of them stops waiting for another process that writes. See `BusyTimeout`.
    """

    last = 0
    error: SpoolError | None = None
    until: float | None = None


class _Ticket(Generic[T]):
    """The row of one caller, and the group that it is committed with."""

    def __init__(self, row: T) -> None:
        self._row = row
        self._until = BusyTimeout().until
        self._group: Rows[T] = Rows()
        self._index = 0
        self._calls = threading.Lock()
        self._calls.acquire()
        self.abandoned = False

    @property
    def settled(self) -> bool:
        """Whether the outcome is known. Until then nothing is committed."""
        return self._group.last > 0 or self._group.error is not None

    @property
    def waits(self) -> bool:
        """Whether the row is yet to be committed."""
        return not self.settled and not self.abandoned

    def join(self, group: Rows[T]) -> None:
        """Add the row to *group*."""
        self._index = len(group)
        group.append(self._row)
        group.until = self._until if group.until is None else min(group.until, self._until)
        self._group = group

    def check_deadline(self, error: SpoolError) -> None:
        """Set *error* if the caller has waited for as long as it may. Otherwise the next leader tries again."""
        if monotonic() >= self._until:
            self.join(Rows())
            self._group.error = error

    def wait(self) -> None:
        """Wait until `call`, or for a moment."""
        self._calls.acquire(timeout=_POLL_SECONDS)

    def call(self) -> None:
        """Wake the caller, so that it looks at its ticket again."""
        try:
            self._calls.release()
        except RuntimeError as error:  # it was called before
            if is_interruption(error):
                raise

    def result(self) -> int:
        group = self._group
        if group.error and not group.last:
            raise type(group.error)(*group.error.args) from group.error
        return group.last - len(group) + 1 + self._index


class GroupCommit(Generic[T]):
    """
    Leader and followers.

    A lone caller commits its own row at once. Callers that come during a commit queue. When it ends, the first in the
    queue commits for all of them.

    An exception may come out of any line, and concerns only the call that it ends. So the lead is never handed over: a
    caller takes it when it is free. The next leader commits the rows that an interrupted leader did not.
    """

    def __init__(self, commit: Callable[[Rows[T]], int]) -> None:
        """Take *commit*, which appends consecutive rows in one transaction and returns the number of the last."""
        self._commit = commit
        self._queue: deque[_Ticket[T]] = deque()
        self._taken: list[_Ticket[T]] = []
        self._leading = threading.RLock()
        self._leader = 0

    def append(self, row: T) -> int:
        """
        Commit *row*, alone or with others.

        Returns:
            The row's number.

        Raises:
            SpoolError: What the commit raised; the row is not spooled then.
        """
        me = threading.get_ident()
        if self._leader == me:
            # A signal handler or a finaliser interrupted this thread's own commit. In the queue it would wait for
            # itself.
            return self._commit(Rows([row]))
        ticket = _Ticket(row)
        try:
            self._queue.append(ticket)
            while not ticket.settled:
                if not self._leading.acquire(blocking=False):
                    ticket.wait()
                    continue
                self._leader = me
                if not ticket.settled:  # unless another leader was faster
                    self._commit_together(self._take())
                self._leader = 0
                self._leading.release()
                with suppress(IndexError):
                    self._queue[0].call()  # a caller that queues from now on finds the lead free
        except BaseException:
            # This is not a function of its own, because a full stack has no room for its frame.
            ticket.abandoned = True
            if self._leader == me:
                self._leader = 0
            try:  # noqa: SIM105 - as above
                self._leading.release()
            except RuntimeError:  # this thread did not lead
                pass
            raise
        return ticket.result()

    def _take(self) -> list[_Ticket[T]]:
        """Take the next tickets out of the queue, behind those that an interrupted leader left."""
        self._taken = taken = [ticket for ticket in self._taken if ticket.waits]
        while self._queue and len(taken) < MAX_GROUP_SIZE:
            first = self._queue[0]
            if first.waits and first not in taken[-1:]:  # it is in both if that leader was interrupted here
                taken.append(first)
            self._queue.popleft()
        return taken

    def _commit_together(self, tickets: list[_Ticket[T]]) -> None:
        group: Rows[T] = Rows()
        for ticket in tickets:
            ticket.join(group)
        try:
            group.last = self._commit(group)
        except SpoolFullError as error:
            if len(group) > 1:  # there may be room for some of them
                for ticket in tickets:
                    self._commit_together([ticket])
            else:
                group.error = error
        except SpoolError as error:
            if is_busy(error):
                for ticket in tickets:
                    ticket.check_deadline(error)
            else:
                group.error = error
        finally:
            for ticket in tickets:
                ticket.call()
