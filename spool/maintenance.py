"""Maintenance: what keeps a spool safe and small, on a thread that no caller waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ledger import queries, transitions
from .steps import Steps
from .storage.changes import despite_full_volume
from .storage.connections import Connections
from .storage.limits import has_free_pages, is_sparse
from .storage.recovery import WalLostError
from .storage.wal_limit import WalLimit

if TYPE_CHECKING:
    from .storage.database import Database
    from .storage.limits import Limits

_PRUNE_SECONDS = 0.2


class Maintenance:
    """
    The spool's housekeeping.

    Args:
        database: The connections.
        limits: The limits.
        synchronous: "normal" or "full". If "full", every commit syncs the WAL.
        retention: Seconds that sent events are kept.

    Attributes:
        is_behind: Whether the last run has left something to delete.
    """

    def __init__(self, database: Database, limits: Limits, synchronous: str, retention: float) -> None:
        self._database = database
        self._wal_limit = WalLimit(database, limits)
        self._syncs = synchronous == "normal"
        self._retention = retention
        self._steps = Steps(database, limits)
        self.is_behind = False

    def run(self) -> None:
        """Do all of it, in small steps. Call it about once a second."""
        self._database.check_fork()
        self._prune()
        if self._verify_and_sync():
            self._wal_limit.checkpoint_if_long()
        if self._vacuum():
            self._wal_limit.checkpoint()

    def finish(self, until: float | None = None) -> None:
        """Move the WAL into the file as far as no reader needs it. `BusyTimeout` explains *until*."""
        self._verify_and_sync()
        self._wal_limit.checkpoint(until)

    def truncate_wal(self, until: float | None = None) -> None:
        """Cut the WAL, since the next process to open the spool reads all of it. Call this after `finish`."""
        self._wal_limit.truncate(until)

    def _verify_and_sync(self) -> bool:
        """Check that the WAL is in its place, and sync it. Return whether anything was written since the last sync."""
        database = self._database
        dirty = False
        try:
            try:
                with database.exclusive() as connections:
                    database.verify(connections)
                    dirty = database.redo.take_dirty() or connections.unsynced
            except WalLostError:
                database.recover()
                with database.exclusive() as connections:
                    dirty = True
                    database.redo.take_dirty()
            if dirty and self._syncs:
                with database.translate_errors():
                    connections.sync_wal()
        except BaseException:
            database.redo.mark_dirty()
            raise
        return dirty

    def _prune(self) -> None:
        """Delete sent events for a short time only: the WAL must be synced, and `close` waits for this run to end."""
        self.is_behind = self._has_prunable()
        if self.is_behind:
            self._steps.repeat(
                lambda db: transitions.prune(db, self._retention, max_bytes=self._steps.max_bytes), _PRUNE_SECONDS
            )
            self.is_behind = self._has_prunable()

    def _has_prunable(self) -> bool:
        with self._database.reading() as db:
            return bool(queries.prunable(db, self._retention))

    def _vacuum(self) -> bool:
        with self._database.reading() as db:
            if not (has_free_pages(db) if self._database.connections().volume_full else is_sparse(db)):
                return False
        despite_full_volume(self._database, lambda: self._database.write(Connections.vacuum))
        return True
