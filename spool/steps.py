"""Work in small transactions, so that the WAL stays short, a crash loses nothing, and other writers get their turn."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from .clock import monotonic
from .ledger.selection import next_rejected
from .storage.changes import change
from .storage.wal_limit import WalLimit

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from .ledger.selection import Chunk
    from .records import Selection
    from .storage.database import Database
    from .storage.limits import Limits

_MAX_BYTES = 256 << 10
_MAX_PAUSE = 0.05


class Steps:
    """
    Transactions one after the other.

    Args:
        database: The connections.
        limits: The limits.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._wal_limit = WalLimit(database, limits)

    @property
    def max_bytes(self) -> int:
        """Bytes of events that one transaction may move or delete. A single event may have more."""
        most = min(self._limits.unverified_bytes, _MAX_BYTES)
        connections = self._database.opened
        return min(most, connections.step_bytes) if connections else most

    def repeat(self, step: Callable[[sqlite3.Connection], int | None], seconds: float = math.inf) -> int:
        """Run *step* in transactions of its own until it returns None or *seconds* are over; return the sum."""
        total = 0
        end = monotonic() + seconds
        while True:
            self.keep_wal_short(self.max_bytes)
            began = monotonic()
            done = change(self._database, step)
            if done is None:
                return total
            total += done
            self.give_way(began)
            if monotonic() >= end:
                return total

    def rejected_chunks(self, selection: Selection) -> Iterator[Chunk]:
        """Yield the chunks with selected rows in them. Looking for each takes no lock that a writer waits for."""
        after = 0
        while True:
            with self._database.reading() as db:
                chunk = next_rejected(db, selection, after, self.max_bytes)
            if not chunk:
                return
            after = chunk.last
            if chunk.selected:
                self.keep_wal_short(chunk.bytes)
                began = monotonic()
                yield chunk
                self.give_way(began)

    def keep_wal_short(self, size: int) -> None:
        """Move the WAL into the file if *size* bytes more make it long."""
        self._wal_limit.keep_short(size)

    @staticmethod
    def give_way(began: float) -> None:
        """Pause for as long as the write lock was held: waiters poll for the lock, and would starve otherwise."""
        time.sleep(min(monotonic() - began, _MAX_PAUSE))
