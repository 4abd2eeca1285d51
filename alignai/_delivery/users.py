"""The users of a shared object, which ends with the last of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from alignai._exclusive import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class Users(Generic[T]):
    """
    The users of a shared object, from its first until its last.

    Attributes:
        ended: Whether the last user has left, or `end` was called before. Then no user can join.
    """

    def __init__(self) -> None:
        self.ended = False
        self._users: set[T] = set()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Make a new lock: a thread of the parent may have held the old one."""
        self._lock = threading.RLock()

    def __bool__(self) -> bool:
        return bool(self._users)

    def __contains__(self, user: object) -> bool:
        return user in self._users

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._users))

    @exclusive
    def join(self, user: T) -> bool:
        """Add *user*. Return False if the object has ended."""
        if not self.ended:
            self._users.add(user)
        return not self.ended

    @exclusive
    def leave(self, user: T) -> bool:
        """Remove *user*. Return True if it was a user. The last one to leave ends the object."""
        was_in = user in self._users
        self._users.discard(user)
        self.end_if_unused()
        return was_in

    def forget(self, user: T) -> None:
        """Remove *user* without a lock, for a finaliser. A thread calls `end_if_unused` later."""
        self._users.discard(user)

    @exclusive
    def end_if_unused(self) -> None:
        """End the object if it has no users."""
        self.ended |= not self._users

    def end(self) -> None:
        """End the object, even if it still has users."""
        self.ended = True
