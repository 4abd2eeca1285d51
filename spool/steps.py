"""Work in small transactions: the log stays short, a crash loses nothing, and other writers get their turn."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from .clock import monotonic
from .storage.changes import change
from .storage.limits import in_the_log

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from .storage.connections import Links
    from .storage.database import Access
    from .storage.limits import Space

_MAX_BYTES = 256 << 10
_MAX_PAUSE = 0.05


class Steps:
    """
    Transactions one after the other.

    Args:
        access: The connections.
        space: The limits.
    """

    def __init__(self, access: Access, space: Space) -> None:
        self._access = access
        self._space = space
        self._shortened_to = 0
        self._written = 0

    @property
    def max_bytes(self) -> int:
        """Bytes of events that one transaction may move or delete; a single event may have more."""
        most = min(self._space.unverified_bytes, _MAX_BYTES)
        links = self._access.opened
        return min(most, links.step_bytes) if links else most

    def repeat(self, step: Callable[[sqlite3.Connection], int | None], seconds: float = math.inf) -> int:
        """Run *step* in transactions of its own until it returns None or *seconds* are over; return the sum."""
        total = 0
        end = monotonic() + seconds
        while True:
            self.keep_log_short(self.max_bytes)
            began = monotonic()
            done = change(self._access, step)
            if done is None:
                return total
            total += done
            self.give_way(began)
            if monotonic() >= end:
                return total

    def keep_log_short(self, size: int) -> None:
        """
        Move the log into the file if *size* bytes more make it long: upkeep may not run, or not keep up.

        A log that was begun anew keeps its length on disk, so its length alone does not tell that it is long again.
        """
        with self._access.exclusive() as links:
            growth = in_the_log(size, links.page_size)
            self._written += growth
            is_long = links.log_bytes > self._shortened_to or self._written > self._space.checkpoint_at
            must_shorten = is_long and links.log_bytes + growth > self._space.checkpoint_at
        if must_shorten:
            self._access.write(lambda links: self._shorten(links, growth))

    def _shorten(self, links: Links, growth: int) -> None:
        links.sync_log()  # before the write lock is taken, so that it is held for less
        links.checkpoint()
        links.restart_log()
        self._shortened_to, self._written = links.log_bytes, growth
        self._space.refuse_long_log(links.log_bytes + growth, self._access.path)

    @staticmethod
    def give_way(began: float) -> None:
        """Pause for as long as the write lock was held: waiters poll for the lock, and would starve otherwise."""
        time.sleep(min(monotonic() - began, _MAX_PAUSE))
