"""Who uploads: of all processes on a spool, the one that holds the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from .errors import SpoolError

if TYPE_CHECKING:
    from pathlib import Path


class Lease:
    """
    An exclusive lock beside the spool, freed by the operating system when its holder dies, however it dies.

    The lock is a file of its own: closing any descriptor of the spool's file would drop SQLite's locks on it.
    """

    def __init__(self, spool_path: Path) -> None:
        self._path = spool_path.with_name(spool_path.name + ".lease")
        self._lock = FileLock(self._path, mode=0o600, thread_local=False, fallback_to_soft=False)

    def acquire(self) -> bool:
        """
        Take the lease if it is free, without waiting; true where this process holds it now.

        Raises:
            SpoolError: The lock file cannot be made or locked.
        """
        if self._lock.is_locked:
            return True
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        except (OSError, NotImplementedError) as error:  # the latter where the file system has no locks
            raise SpoolError(
                f"the lease {self._path}: {getattr(error, 'strerror', None) or error} - check this file, the modes of "
                "its folder and the disk; meanwhile this process uploads nothing, and what is recorded is kept"
            ) from error
        return True

    @property
    def held(self) -> bool:
        """Whether this process holds the lease."""
        return self._lock.is_locked

    def release(self) -> None:
        """Give the lease back; nothing happens where it is not held."""
        self._lock.release(force=True)
