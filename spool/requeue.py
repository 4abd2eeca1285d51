"""Requeue: append rejected events again, in many small transactions."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from .errors import SpoolFullError
from .ledger import queries, sql, transitions
from .records import Requeued
from .steps import Steps
from .storage.changes import change

if TYPE_CHECKING:
    import sqlite3

    from .ledger.selection import Chunk
    from .records import Selection
    from .storage.connections import Connections
    from .storage.database import Database
    from .storage.limits import Limits


class Requeue:
    """
    Requeueing.

    Args:
        database: The connections.
        limits: The limits.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._steps = Steps(database, limits)

    def run(self, selection: Selection) -> Requeued:
        """Append the selected events again, in order, and delete them from the rejected ones. Damaged ones stay."""
        requeued = damaged = 0
        for chunk in self._steps.rejected_chunks(selection):
            while (done := self._try_chunk(selection, chunk)) is None:
                pass
            requeued += done.requeued
            damaged += done.damaged
        return Requeued(requeued, damaged)

    def _try_chunk(self, selection: Selection, chunk: Chunk) -> Requeued | None:
        """Return None if there was no room and older sent events have been deleted, so that it is to be tried again."""
        try:
            return change(self._database, partial(self._requeue_chunk, selection.before, chunk))
        except SpoolFullError:
            if change(self._database, lambda db: transitions.prune(db, 0)) is None:
                raise
            return None

    def _requeue_chunk(self, before: float | None, chunk: Chunk, db: sqlite3.Connection) -> Requeued:
        pages = _page_count(db)
        done = _requeue(db, before, chunk)
        self._check_growth(pages, _page_count(db), self._database.connections())
        return done

    def _check_growth(self, before: int, after: int, connections: Connections) -> None:
        """Hold the limit of the file. The ledger's connection may pass it, so that deleting works on a full spool."""
        if after > max(before, 0 if connections.volume_full else self._limits.max_pages(connections.page_size)):
            raise SpoolFullError(
                f"spool {self._database.path}: there is no room to requeue more. Let what is pending be sent, "
                + ("or free space on the volume." if connections.volume_full else "or raise max_spool_bytes.")
            )


def _requeue(db: sqlite3.Connection, before: float | None, chunk: Chunk) -> Requeued:
    """Append the intact ones again, with the present time."""
    rows = db.execute(sql.REJECTED_ROWS, (chunk.first, chunk.last, before, before)).fetchall()
    intact = [row for row in rows if not queries.checksum_mismatch(row)]
    now = time.time()
    for seq, _, _ in intact:
        db.execute(sql.TAKE_REJECTED, (seq,))
    for _, crc, payload in intact:
        db.execute(sql.APPEND, (now, crc, payload))
    db.execute(sql.UNCOUNT_REJECTED, (len(intact),))
    return Requeued(len(intact), len(rows) - len(intact))


def _page_count(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA page_count").fetchone()[0])
