"""Methods that exclude each other, and leave no lock behind if an exception is raised at any line."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import RLock

F = TypeVar("F", bound="Callable[..., Any]")


def is_held(lock: RLock) -> bool:
    """Return whether the calling thread holds *lock*."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - threading.Condition relies on it, too


def give_back(lock: RLock) -> None:
    """Release *lock* completely. Nothing happens unless the calling thread holds it."""
    while is_held(lock):
        lock.release()


def exclusive(method: F) -> F:
    """
    Have *method* hold the `_lock` of its object, a re-entrant lock.

    A signal handler may raise between a lock and the `with` block that would release it. So the outermost call releases
    all that the thread holds.
    """

    @wraps(method)
    def call(self: Any, *args: object, **kwargs: object) -> object:
        lock = self._lock
        nested = is_held(lock)
        try:
            with lock:
                return method(self, *args, **kwargs)
        except BaseException:
            if not nested:
                give_back(lock)
            raise

    return cast("F", call)
