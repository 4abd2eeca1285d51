"""The half of a spool for the process that uploads: batches, outcomes, and notes that other processes read."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

from .errors import SpoolBusyError
from .ledger import queries, sql, transitions
from .storage.changes import change
from .storage.holding import interruptible

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from .records import Batch
    from .storage.database import Database

_MAX_ATTEMPTS = 1000
"""How often a batch is restarted because the events that wait have changed meanwhile."""


class _OvertakenError(Exception):
    """Another process has changed the pending events since they were read."""


@interruptible
class Uploads:
    """
    Batches of a spool, which one process at a time uploads.

    Attributes:
        path: The spool.
    """

    path: Path
    _database: Database

    # -- batches -------------------------------------------------------------------------------------------------------

    def next_batch(self, max_events: int, max_bytes: int, after: int = 0) -> Batch | None:
        """
        Return the batch to upload now: the oldest open one, or else a new one of pending events.

        The upload counts as begun. Only the holder of the lease may call this. An open batch is returned as it was,
        under its request id.

        Args:
            max_events: Most events in a new batch.
            max_bytes: Most bytes of payload in a new batch. A single event may be larger.
            after: Pass over the batches up to this row.
        """
        tries = 0
        while tries < _MAX_ATTEMPTS:
            with self._database.reading() as db:
                generation = self._database.generation  # first: later it might be that of other connections
                start = queries.batched_through(db)
                queries.check_newest(db, self.path)
                rows = [] if queries.first_open(db, after) else queries.pending(db, start, max_events, max_bytes)
            try:
                batch, again = change(self._database, partial(self._claim, generation, start, rows, after))
            except _OvertakenError:
                tries += 1
                continue
            if not again:
                return batch
        raise SpoolBusyError(
            f"spool {self.path}: another process changes its pending events again and again. Try again."
        )

    def _claim(
        self, generation: int, start: int, rows: list[queries.StoredRow], after: int, db: sqlite3.Connection
    ) -> tuple[Batch | None, bool]:
        """Return the batch to upload, if any, and whether to look again: the ledger was changed, and there is none."""
        unfinished = queries.first_open(db, after)
        if unfinished:
            batch = transitions.reopen_batch(db, unfinished)
            return batch, batch is None
        if not rows:
            return None, False
        if queries.batched_through(db) != start or self._database.generation != generation:
            raise _OvertakenError  # another process dropped these to make room, or they were read from a lost WAL
        sound = queries.intact(rows)
        if sound:
            return transitions.create_batch(db, sound), False
        transitions.reject_damaged(db, rows[0])
        return None, True

    def mark_sent(self, batch: Batch) -> None:
        """Record that the server took *batch*."""
        change(self._database, lambda db: transitions.mark_sent(db, batch))

    def mark_failed(self, batch: Batch, error: str, *, fault: bool = False) -> None:
        """Record that an upload of *batch* ended without an outcome. *fault* says that the server itself failed."""
        change(self._database, lambda db: transitions.mark_failed(db, batch, error, fault=fault))

    def mark_rejected(self, batch: Batch, reason: str, summary: str) -> None:
        """Keep every event of *batch* as rejected, with the server's words. `inspect` may show *summary*."""
        change(self._database, lambda db: transitions.reject(db, batch, reason, summary))

    def split(self, batch: Batch) -> None:
        """Make two batches of *batch*, which must not be sent again as it is."""
        change(self._database, lambda db: transitions.split(db, batch))

    def mark_event_sent(self, batch: Batch, index: int) -> None:
        """Record that the server took the event at *index* of *batch* by itself. The others are still to be sent."""
        change(self._database, lambda db: transitions.mark_event_sent(db, batch, index))

    # -- between processes ---------------------------------------------------------------------------------------------

    def request_flush(self, upto: int, until: float | None = None) -> None:
        """
        Ask the process that uploads not to wait with the events up to row *upto*.

        Args:
            upto: The row.
            until: When to give up waiting for another process that writes, by `monotonic`. If None, after some seconds.

        Raises:
            SpoolBusyError: Another process has held the write lock until then.
        """
        change(self._database, lambda db: db.execute(sql.NOTE_FLUSH, (upto,)), until)

    def note_lease(self, host: str) -> None:
        """Record, for `inspect`, that this process uploads now."""
        change(self._database, lambda db: db.execute(sql.TAKE_LEASE, (os.getpid(), host, time.time())))

    def note_lease_given(self, until: float | None = None) -> None:
        """
        Record that this process uploads no more. If an upload was cut short, the process did not die of that.

        Args:
            until: When to give up waiting for another process that writes, as with `request_flush`.
        """
        change(self._database, transitions.end_uploading, until)
