"""Methods that exclude each other, and leave no lock behind if an exception is raised at any line."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from alignai.spool import give_back, is_held

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["exclusive", "give_back", "is_held"]

F = TypeVar("F", bound="Callable[..., Any]")


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
