"""
No SQLite connection and no held lock crosses a fork.

SQLite keeps its locks per process and its bookkeeping in memory. A child that inherits both believes in locks that it
does not have (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_). So every
spool closes its connections just before a fork and opens them again, on both sides, when they are next needed.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Protocol, Self
from weakref import WeakValueDictionary

from .locks import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


class Forkable(Protocol):
    """A spool, or another owner of connections, that takes part in forks."""

    @property
    def path(self) -> Path | None:
        """The spool's file, None if the connection belongs to no spool."""

    @property
    def opened(self) -> object:
        """The connections, if they are open."""

    @property
    def locks(self) -> tuple[threading.RLock, ...]:
        """The locks that a thread holds while it opens or uses a connection."""

    def let_go(self) -> None:
        """Close every connection. The caller holds the locks."""

    def reset_after_fork(self) -> None:
        """Fresh locks and nothing open, as in a new process."""


_spools: WeakValueDictionary[int, Forkable] = WeakValueDictionary()
_forking = threading.RLock()
_pauses: dict[int, Pause] = {}
_pid = os.getpid()


def register(spool: Forkable) -> None:
    """Let *spool*, which has nothing open yet, take part in forks for as long as it lives."""
    _spools[id(spool)] = spool
    # A fork that has not seen it is over after this. On one line, or an exception could come between body and release.
    with _forking: pass  # fmt: skip # noqa: E701


def sharing(path: Path) -> list[Forkable]:
    """Return every spool of this process on *path*."""
    return [spool for spool in _living() if spool.path == path]


def _living() -> list[Forkable]:
    # Without a lock: who asks may hold the locks that a thread about to fork waits for.
    return [spool for reference in _spools.valuerefs() if (spool := reference()) is not None]


class Pause:
    """
    The time in which a thread holds all locks of some spools, and their connections are closed.

    It never waits for one lock while it holds another one: whoever holds that may be interrupted by a call of the same
    thread that needs this. It may be ended and begun again at any moment, also by a call that was interrupted.
    """

    def __init__(self, locks: Callable[[], Iterable[threading.RLock]], spools: Callable[[], list[Forkable]]) -> None:
        self._locks = locks
        self._spools = spools
        self._holds: list[Hold] = []
        self._complete = False

    @classmethod
    def of(cls, spools: list[Forkable]) -> Self:
        """Pause *spools*."""
        return cls(lambda: [lock for spool in spools for lock in spool.locks], lambda: spools)

    def begin(self) -> None:
        """Wait for the locks and close the connections. Nothing happens if that has been done."""
        if not self._complete:
            busy = self._take_all(None)
            while busy:
                busy = self._take_all(busy)
            for spool in self._spools():
                spool.let_go()
            self._complete = True

    def end(self) -> None:
        """Release the locks. Nothing happens the second time."""
        self._complete = False
        for hold in reversed(self._holds):
            hold.release()
        self._holds = []

    def _take_all(self, first: threading.RLock | None) -> threading.RLock | None:
        """Wait for the lock *first*, then take the others if they are free. Return one that is not."""
        self.end()
        if first:
            self._holds.append(Hold(first))
            self._holds[0].take()
        for lock in self._locks():
            if lock is not first:
                self._holds.append(Hold(lock))
                if not self._holds[-1].take(blocking=False):
                    self.end()
                    return lock
        return None

    def __enter__(self) -> Self:
        try:
            self.begin()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class HeldOff:
    """The time in which no other thread may fork, since a connection is open that belongs to no spool."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.reset_after_fork()

    def __enter__(self) -> None:
        register(self)
        self._hold = Hold(self._lock)
        self._hold.take()

    def __exit__(self, *_: object) -> None:
        self._hold.release()

    @property
    def opened(self) -> None:
        """Nothing that belongs to a spool."""

    @property
    def locks(self) -> tuple[threading.RLock, ...]:
        """The lock that is held meanwhile."""
        return (self._lock,)

    def let_go(self) -> None:
        """Only the thread that has opened the connection may fork now: its connection crosses the fork."""

    def reset_after_fork(self) -> None:
        """Make a new lock."""
        self._lock = threading.RLock()


# -- the hooks -----------------------------------------------------------------------------------------------------


def _all_locks() -> Iterator[threading.RLock]:
    yield _forking  # before it is seen which spools there are: none is opened from here on
    for spool in _living():
        yield from spool.locks


def _before() -> None:
    _pauses.setdefault(threading.get_ident(), Pause(_all_locks, _living)).begin()


def _after_in_parent() -> None:
    pause = _pauses.get(threading.get_ident())
    if pause:
        pause.end()
        del _pauses[threading.get_ident()]


def _after_in_child() -> None:
    global _forking, _pid  # noqa: PLW0603 - what there was is the parent's
    if _pid != os.getpid():
        _forking = threading.RLock()
        _pauses.clear()
        for spool in _living():
            spool.reset_after_fork()
        _pid = os.getpid()


if hasattr(os, "register_at_fork"):
    # Python ignores what a hook raises, such as a signal handler's exception, and forks all the same. So each hook is
    # there twice: the second finishes what the first may have left half done.
    for _ in range(2):
        os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
