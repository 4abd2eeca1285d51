"""
How the WAL is kept short: who shortens it, when, and what follows if it stays long.

Maintenance moves the WAL into the file as soon as it is long. Work in many small transactions does so between them,
since maintenance may not run. An append does so only as the last resort. `changes` does so on a full volume.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from .connections import Connections
from .limits import WalFullError, wal_growth

if TYPE_CHECKING:
    from .database import Database
    from .limits import Limits


class WalLimit:
    """
    The bounds of the WAL, and what keeps it within them.

    Args:
        database: The connections.
        limits: The limits.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._shortened_to = 0
        self._written = 0

    # -- by an append --------------------------------------------------------------------------------------------------

    def make_room(self, connections: Connections, size: int, growth: int) -> None:
        """
        Ensure room in the WAL for an event of *size* bytes, by which it grows by *growth*. The write lock is held.

        Raises:
            WalFullError: There is no room, and no checkpoint makes any.
        """
        self._database.wal_is_long = self._is_long(connections.wal_bytes)
        if connections.must_shorten(growth):
            self._limits.check_room_for_pages(size, connections.page_size, self._database.path)
            self._shorten_at_last(connections, growth)

    def _shorten_at_last(self, connections: Connections, growth: int) -> None:
        """Shorten the WAL as the last resort. If maintenance has not kept up, the WAL would outgrow the limit."""
        with suppress(sqlite3.OperationalError):
            self._shorten(connections)
        self._limits.check_wal_size(connections.wal_bytes + growth, self._database.path)
        if not connections.volume_full and connections.is_beyond_reserve(growth):
            raise WalFullError(
                f"spool {self._database.path}: the volume is too full for an event of {growth} bytes. Free space on it."
            )

    # -- by maintenance ------------------------------------------------------------------------------------------------

    def checkpoint_if_long(self) -> None:
        """Move the WAL into the file if it is long. Call this once it is synced, which is most of the work."""
        self._database.wal_is_long = False
        self._database.write(self._checkpoint_if_long)

    def _checkpoint_if_long(self, connections: Connections) -> None:
        if self._is_long(connections.wal_bytes) or connections.must_shorten(0):
            connections.checkpoint()

    def checkpoint(self, until: float | None = None) -> None:
        """Move the WAL into the file as far as no reader needs it. `BusyTimeout` explains *until*."""
        self._database.write(Connections.checkpoint, until)

    def truncate(self, until: float | None = None) -> None:
        """Cut the WAL, since the next process to open the spool reads all of it. Call this after `checkpoint`."""
        self._database.write(self._truncate_unless_full, until)

    @staticmethod
    def _truncate_unless_full(connections: Connections) -> None:
        """Keep its bytes on a full volume, or the next process may find no room to write."""
        if not connections.volume_full:
            connections.truncate_wal()

    # -- between small transactions ------------------------------------------------------------------------------------

    def keep_short(self, size: int) -> None:
        """
        Move the WAL into the file if *size* bytes more make it long: maintenance may not run, or may not keep up.

        A WAL that was restarted keeps its length on disk, so its length alone does not tell that it is long again.
        """
        with self._database.exclusive() as connections:
            growth = wal_growth(size, connections.page_size)
            self._written += growth
            has_grown = connections.wal_bytes > self._shortened_to or self._is_long(self._written)
            must_shorten = has_grown and self._is_long(connections.wal_bytes + growth)
        if must_shorten:
            self._database.write(lambda connections: self._shorten_synced(connections, growth))

    def _shorten_synced(self, connections: Connections, growth: int) -> None:
        connections.sync_wal()  # before the write lock is taken, so that it is held for less
        self._shorten(connections)
        self._shortened_to, self._written = connections.wal_bytes, growth
        self._limits.check_wal_size(connections.wal_bytes + growth, self._database.path)

    # ------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def _shorten(connections: Connections) -> None:
        connections.checkpoint()
        connections.restart_wal()

    def _is_long(self, size: int) -> bool:
        return size > self._limits.wal_checkpoint_bytes
