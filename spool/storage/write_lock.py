"""The lock that every write holds: of all threads of all processes on a spool, one writes at a time."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING

from ..clock import monotonic, sleep
from ..errors import WriteLockTakenError
from ..interruption import AllowingRefusal, is_refusal
from .ownership import open_or_create
from .paths import identity, lock_of

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

if TYPE_CHECKING:
    from collections.abc import Callable

_ASK_AFTER_SECONDS = 2e-3
"""How long a process is refused the lock before it asks the others to give way."""

_PAUSES_SECONDS = (0.2e-3, 0.4e-3, 0.8e-3)
"""
Between the attempts of one call of `take`. They are short, since the caller's other threads wait as well, but long
enough for the holder to commit some rows: after each change of the writer SQLite reads its pages again. If the caller
began from the beginning each time, the processes that wait would take the processor from the one that writes.
"""

_GIVE_WAY_SECONDS = 0.5e-3
"""Longer than a process that has asked sleeps between two attempts."""

_SOON_SECONDS = 0.2

_ASKED, _NOT_ASKED = b"!", b"."
"""The first byte of the file says whether a process asks for the lock."""


class WriteLock:
    """
    An exclusive `flock` on a file beside the spool.

    SQLite's own write lock is a POSIX lock on `-shm`. The kernel drops it when the process closes any descriptor of
    that file, such as one that a backup has read. Another process would then write at the same place. A `flock`
    belongs to one open file: no other close drops it.

    The lock waits for a moment only. Its user tries again, so that every wait has a bound, also if the holder is
    frozen. A process that is refused for long asks the others to give way, or those who write without a pause would
    always be faster.

    Its user holds `Database.write_mutex` and so keeps the other threads out. A call that interrupts another one on the
    same thread may take the lock again: only the call that took it first gives it back.

    On a platform or a file system without `flock` there is only SQLite's lock.

    Attributes:
        owner: The thread that uses this object. It is set before the lock is taken, and cleared before it is released.
    """

    _descriptor: int | None = None  # before it is constructed, interrupted by a signal, there is nothing to close
    _file: tuple[int, int] | None = None

    def __init__(self, spool: Path) -> None:
        self.owner: int | None = None
        self._spool = spool
        self._path = lock_of(str(spool))
        self._refused_since = 0.0

    # -- taking and giving back ----------------------------------------------------------------------------------------

    def held(self) -> Held:
        """
        Hold the lock.

        Raises:
            sqlite3.OperationalError: Another process holds it.
        """
        return Held(self, self.take)

    def held_if_free(self) -> Held:
        """Hold the lock if it becomes free within a moment. Otherwise go on without it."""
        return Held(self, self._take_soon)

    def take(self) -> None:
        """
        Take the lock. The caller gives it back, even if this raises.

        Raises:
            sqlite3.OperationalError: Another process holds it.
        """
        self.owner = get_ident()
        if self._is_taken() and all(map(self._is_taken_after, _PAUSES_SECONDS)):
            self._ask()
            raise WriteLockTakenError
        self._refused_since = 0.0

    def _is_taken_after(self, pause: float) -> bool:
        sleep(pause)
        return self._is_taken()

    def _is_taken(self) -> bool:
        """Return whether another process holds the lock. If not, it is taken now, or the system has no such locks."""
        if self._descriptor is None:
            return False
        try:
            flock(self._descriptor, LOCK_EX | LOCK_NB)
            return identity(self._path) != self._file and self._is_new_file_taken()
        except OSError as error:
            if not is_refusal(error):
                raise
            if isinstance(error, BlockingIOError):
                return True
            self.close()
        return False

    def _is_new_file_taken(self) -> bool:
        """
        Return whether another process holds the lock of the file that is at the path now, instead of the one held here.

        If not, it is taken before the old one is given back, under which another process may still be writing.
        """
        if self._descriptor is None or identity(self._descriptor) != self._file:
            return False  # it is another file's number by now
        descriptor = None
        with AllowingRefusal():  # the old one is better than none
            descriptor = open_or_create(Path(self._path), self._spool)
        if descriptor is None:
            return False
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
            self._file = identity(os.dup2(descriptor, self._descriptor, inheritable=False))
        finally:
            os.close(descriptor)
        return self._is_taken()  # this one may have been deleted, too

    def _take_soon(self) -> None:
        until = monotonic() + _SOON_SECONDS
        while monotonic() < until:
            try:
                self._take_unless_asked()
            except sqlite3.OperationalError:
                sleep(_PAUSES_SECONDS[0])
            else:
                return

    def _take_unless_asked(self) -> None:
        """Take the lock, but leave it to a process that asks for it: many may start at once beside one that writes."""
        if self._is_asked():
            raise WriteLockTakenError
        self.take()

    def give(self) -> None:
        """Give the lock back. Nothing happens if it is not held."""
        self.owner = None  # first: a call that comes in between takes the lock for itself
        if self._descriptor is not None:
            with AllowingRefusal():
                flock(self._descriptor, LOCK_UN)

    # -- between processes that want it --------------------------------------------------------------------------------

    def _ask(self) -> None:
        now = monotonic()
        if not self._refused_since:
            self._refused_since = now
        elif now - self._refused_since > _ASK_AFTER_SECONDS and not self._is_asked():
            self._write(_ASKED)

    def give_way(self) -> None:
        """Pause for a moment if another process asks for the lock. Call this now and then without holding it."""
        if self._is_asked():
            self._write(_NOT_ASKED)
            time.sleep(_GIVE_WAY_SECONDS)

    def _is_asked(self) -> bool:
        with AllowingRefusal():
            return self._descriptor is not None and os.pread(self._descriptor, 1, 0) == _ASKED
        return False

    def _write(self, mark: bytes) -> None:
        """Write through the path: the number of a descriptor that was closed by others may be another file's by now."""
        with AllowingRefusal():
            descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW)
            try:
                os.write(descriptor, mark)
            finally:
                os.close(descriptor)

    # -- the file ------------------------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Open the file if it is not open, or if other code has closed it. The lock is not held."""
        if self._file is None or identity(self._descriptor) != self._file:
            self.close()
            if sys.platform != "win32":
                with AllowingRefusal():  # SQLite's own lock remains
                    descriptor = open_or_create(Path(self._path), self._spool)
                    self._descriptor, self._file = descriptor, identity(descriptor)

    def close(self) -> None:
        """Close the file, which gives the lock back. In a forked child this only closes the child's copy."""
        descriptor, self._descriptor = self._descriptor, None
        file, self._file = self._file, None
        if descriptor is not None and identity(descriptor) == file:  # or it is another file's number by now
            os.close(descriptor)

    def __del__(self) -> None:
        """Leave no descriptor behind."""
        self.close()


class Held:
    """The write lock while a call holds it. See `WriteLock.held`."""

    def __init__(self, lock: WriteLock, take: Callable[[], object]) -> None:
        self._lock = lock
        self._take = take
        self._is_first = lock.owner != get_ident()  # another thread's name was left behind by an interrupted call

    def __enter__(self) -> None:
        try:
            if self._is_first:
                self._lock.verify()
            self._take()
        except BaseException:
            self.release()
            raise

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the lock back unless this call interrupts another one that holds it."""
        if self._is_first:
            self._lock.give()
