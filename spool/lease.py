"""Who uploads: of all processes on a spool, the one that holds the lease."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - filelock imports it, which Python refuses once it has begun to exit
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from .clock import monotonic
from .errors import SpoolError
from .interruption import AllowingRefusal, is_refusal
from .storage.ownership import create
from .storage.paths import identity, lease_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from filelock import FileLock

_LOOK_SECONDS = 0.002
"""What a look at the lease by `inspect` may take: whoever finds it taken tries once more after that."""

_TOUCH_SECONDS = 3600.0
"""How often the holder touches the file, so that whatever deletes old files leaves it alone."""


class Lease:
    """
    An exclusive lock beside the spool, freed by the operating system when its holder dies, however it dies.

    The lock is a file of its own: closing any descriptor of the spool's file would drop SQLite's locks on it. If that
    file is deleted, another process can lock a new one; so who holds the lease looks whether it is still the one.
    """

    def __init__(self, spool_path: Path) -> None:
        self._spool = spool_path
        self._path = lease_of(spool_path)
        self._lock: FileLock | None = None
        self._file: tuple[int, int] | None = None
        self._touched_at = 0.0

    def acquire(self) -> bool:
        """
        Take the lease if it is free, without waiting; true if this process holds it now.

        Raises:
            SpoolError: The lock file cannot be made or locked.
        """
        if self.held:
            return True
        try:
            self.release()  # a lock on a file that is no longer there
            return self._lock_file() and self.held
        except BaseException as error:
            self.release()
            if not is_refusal(error) and not isinstance(error, NotImplementedError):  # the file system has no locks
                raise
            raise SpoolError(
                f"the lease {self._path}: {getattr(error, 'strerror', None) or error} - check this file, the modes of "
                "its folder and the disk; meanwhile this process uploads nothing, and what is recorded is kept"
            ) from error

    @property
    def held(self) -> bool:
        """Whether this process holds the lease: the lock, and on the file that others would lock."""
        if not (self._lock and self._lock.is_locked) or self._file is None or identity(self._path) != self._file:
            return False
        if monotonic() - self._touched_at > _TOUCH_SECONDS:
            self._touched_at = monotonic()
            with AllowingRefusal():  # another user's
                os.utime(self._path)
        return True

    def release(self) -> None:
        """Give the lease back; nothing happens if it is not held."""
        self._file = None
        if self._lock:
            self._lock.release(force=True)

    def _lock_file(self) -> bool:
        # While this descriptor is open no other file can get its number: if the name stands for the same file before
        # and after, that file is the one that was locked.
        descriptor = self._open()
        try:
            self._file = identity(descriptor)
            return self._try() or self._try_again()
        finally:
            os.close(descriptor)

    def _try(self) -> bool:
        filelock = load_filelock()
        if not self._lock:
            self._lock = filelock.FileLock(self._path, mode=0o600, thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        return True

    def _try_again(self) -> bool:
        time.sleep(_LOOK_SECONDS)
        return self._try()

    def _open(self) -> int:
        try:
            return create(self._path, self._spool if self._spool.exists() else None)
        except FileExistsError:
            return os.open(self._path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))


def load_filelock() -> Any:
    """
    Import filelock, now that a lease is wanted, and keep its audit hook out.

    A process that forks does this before it has threads: a fork in the midst of an import cannot be mended.

    On Python 3.12 and later its import adds a hook that has `os.fork` raise RuntimeError whenever another thread is
    forking, whoever forks and whether or not there is a lock. Nothing can remove a hook. On Python 3.11 filelock does
    without it, and what it does around forks is done either way. If filelock was imported before, the hook is there.
    """
    add = sys.addaudithook

    def add_others(hook: Callable[[str, tuple[Any, ...]], Any]) -> None:
        if not str(getattr(hook, "__module__", "")).startswith("filelock"):
            add(hook)

    sys.addaudithook = add_others
    try:
        import filelock  # noqa: PLC0415
    finally:
        sys.addaudithook = add
    return filelock
