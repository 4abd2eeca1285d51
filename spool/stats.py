"""The figures of a spool as records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .inspection import read_figures
from .ledger import queries, sql
from .records import Backlog, LeaseHolder, Stats

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def stats(db: sqlite3.Connection, path: Path) -> Stats:
    """Return the figures of the spool. The cost does not grow with the number of events."""
    figures = read_figures(db, path)
    lease = figures.pop("lease")
    return Stats(**figures, lease=LeaseHolder(**lease) if lease else None)


def backlog(db: sqlite3.Connection) -> Backlog:
    """Return the figures of the pending events and open batches."""
    start = queries.batched_through(db)
    (open_batches, _, _) = db.execute(sql.IN_FLIGHT, (start,)).fetchone()
    counted = queries.totals(db)
    oldest = queries.first_open(db, 0) if open_batches else None
    return Backlog(
        pending=max(0, queries.last_seq(db) - start),
        oldest_at=queries.appended_at(db, start + 1),
        open_batches=open_batches,
        crashes=oldest.crashes if oldest else 0,
        flush_to=counted.flush_to,
        batched_through=start,
        moves=(start, counted._replace(flush_to=0), oldest),
        lease=LeaseHolder(*counted.lease) if counted.lease else None,
    )
