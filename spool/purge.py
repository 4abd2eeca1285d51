"""Purge: delete events for good, in many small transactions."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from .ledger import queries, sql, transitions
from .ledger.selection import next_pending
from .steps import Steps
from .storage.changes import change

if TYPE_CHECKING:
    import sqlite3

    from .ledger.selection import Chunk
    from .records import Selection
    from .storage.database import Database
    from .storage.limits import Limits


class Purge:
    """
    Purging.

    Args:
        database: The connections.
        limits: The limits.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._steps = Steps(database, limits)
        self._purges = {"rejected": self._purge_rejected, "pending": self._purge_pending, "sent": self._purge_sent}

    def run(self, selection: Selection) -> int:
        """Delete the events and return how many there were. Those that were not sent are counted as dropped."""
        return self._purges[selection.state](selection)

    def _purge_rejected(self, selection: Selection) -> int:
        purged = 0
        for chunk in self._steps.rejected_chunks(selection):
            purged += change(self._database, partial(_purge_rejected, selection.before, chunk))
        return purged

    def _purge_pending(self, selection: Selection) -> int:
        """Delete the oldest ones up to the first that is too young. The events behind that keep their order."""

        def purge_some(db: sqlite3.Connection) -> int | None:
            start = queries.batched_through(db)
            chunk = next_pending(db, start, selection.upto, self._steps.max_bytes)
            if not chunk:
                return None
            if chunk.selected != chunk.last - start:
                queries.report_gap(chunk.first, chunk.last)
            return transitions.drop_through(db, chunk.last)

        return self._steps.repeat(purge_some)

    def _purge_sent(self, selection: Selection) -> int:
        """Prune earlier than maintenance would: from the oldest batch on, up to the first that is not settled."""

        def purge_some(db: sqlite3.Connection) -> int | None:
            age = 0.0 if selection.before is None else max(0.0, time.time() - selection.before)
            return transitions.prune(db, age, selection.upto, self._steps.max_bytes)

        return self._steps.repeat(purge_some)


def _purge_rejected(before: float | None, chunk: Chunk, db: sqlite3.Connection) -> int:
    deleted = db.execute(sql.PURGE_REJECTED, (chunk.first, chunk.last, before, before)).rowcount
    db.execute(sql.UNCOUNT_REJECTED, (deleted,))
    db.execute(sql.COUNT_DROPPED, (deleted,))
    return deleted
