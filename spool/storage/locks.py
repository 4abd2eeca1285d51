"""Locks of a spool. The lock itself says who holds it, since an exception may come out of any line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import RLock


def is_held(lock: RLock) -> bool:
    """Return whether the calling thread holds *lock*."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - threading.Condition relies on it, too


def give_back(lock: RLock) -> None:
    """Release *lock* completely. Nothing happens unless the calling thread holds it."""
    while is_held(lock):
        lock.release()


class Hold:
    """
    A lock of the spool while a call holds it.

    Attributes:
        nested: Whether the call interrupts another one of the same thread that holds the lock.
    """

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._taken = False
        self.nested = is_held(lock)

    def take(self, *, blocking: bool = True) -> bool:
        """Take the lock, once it is free or only if it is. Return whether it was taken."""
        self._taken = self._lock.acquire(blocking=blocking)
        return self._taken

    def release(self) -> None:
        """Leave the lock as it was before this call. Nothing happens the second time."""
        if not self.nested:
            give_back(self._lock)
        elif self._taken:
            self._taken = False
            self._lock.release()
