"""The lease: of all processes on a spool, the one that holds it uploads."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - filelock imports it. Python refuses that once it has begun to exit
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from .clock import monotonic
from .errors import SpoolError
from .interruption import AllowingRefusal, is_refusal
from .storage.ownership import open_or_create
from .storage.paths import identity, lease_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from filelock import FileLock

_LOOK_SECONDS = 0.002
"""How long `inspect` may hold the lock to test it. A process that finds it taken tries once more after that."""

_TOUCH_SECONDS = 3600.0
"""How often the holder touches the file, so that programs that delete old files leave it alone."""


class Lease:
    """
    An exclusive lock beside the spool. The operating system frees it when its holder dies, however it dies.

    The lock has a file of its own, because closing any descriptor of the spool's file would drop SQLite's locks on it.
    If that file is deleted, another process can lock a new one. So the holder checks that it is still the same file.
    """

    def __init__(self, spool_path: Path) -> None:
        self._spool = spool_path
        self._path = lease_of(spool_path)
        self._lock: FileLock | None = None
        self._file: tuple[int, int] | None = None
        self._touched_at = 0.0

    def acquire(self) -> bool:
        """
        Take the lease if it is free, without waiting. Return whether this process holds it now.

        Raises:
            SpoolError: The lock file cannot be created or locked.
        """
        if self.held:
            return True
        try:
            self.release()  # a lock on a file that was deleted
            return self._lock_file() and self.held
        except BaseException as error:
            self.release()
            if not is_refusal(error) and not isinstance(
                error, NotImplementedError
            ):  # NotImplementedError: the file system has no locks
                raise
            raise SpoolError(
                f"cannot lock {self._path}: {getattr(error, 'strerror', None) or error}. Until it can, this process "
                "does not upload, but events are still recorded. Check the file, the permissions of its folder and the "
                "disk."
            ) from error

    @property
    def held(self) -> bool:
        """Whether this process holds the lock, and on the file that other processes would lock."""
        if not (self._lock and self._lock.is_locked) or self._file is None or identity(self._path) != self._file:
            return False
        if monotonic() - self._touched_at > _TOUCH_SECONDS:
            self._touched_at = monotonic()
            with AllowingRefusal():  # it belongs to another user
                os.utime(self._path)
        return True

    def release(self) -> None:
        """Give the lease back if it is held."""
        self._file = None
        if self._lock:
            self._lock.release(force=True)

    def _lock_file(self) -> bool:
        # While this descriptor is open, no other file can get its inode number. So if the path has the same inode
        # before and after, that file is the one that was locked.
        descriptor = open_or_create(self._path, self._spool)
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


def load_filelock() -> Any:
    """
    Import filelock when a lease is first needed, and keep its audit hook out.

    A process that forks does this before it has threads, because a fork during an import leaves a child that cannot
    finish the import.

    On Python 3.12 and later, importing filelock adds an audit hook. With it `os.fork` raises RuntimeError if another
    thread is forking, whether or not any lock is held. Nothing can remove a hook. On Python 3.11 filelock does without
    the hook, and its other precautions around forks work either way. If filelock was imported before, the hook exists.
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
