"""The figures of a spool: what `Spool.stats` returns and `inspect` prints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .ledger import queries, sql
from .records import Stats
from .storage.files import size_of
from .storage.reserve import IN_USE, is_in_use, reserve_of
from .storage.sqlite import shm_of, wal_of

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def stats(db: sqlite3.Connection, path: Path) -> Stats:
    """The spool at this moment, at a price that does not grow with the number of events."""
    totals = queries.totals(db)
    through = queries.batched_through(db)
    (_, in_flight, first_open) = db.execute(sql.IN_FLIGHT, (sql.MAX_SEQ,)).fetchone()
    oldest_at = queries.appended_at(db, first_open or through + 1)
    wal_bytes = size_of(wal_of(path))
    return Stats(
        path=str(path),
        bytes=wal_bytes + sum(map(size_of, (path, shm_of(path), reserve_of(path)))),
        wal_bytes=wal_bytes,
        pending=max(0, queries.last_seq(db) - through),
        in_flight=int(in_flight),
        sent=totals.sent,
        rejected=totals.rejected,
        dropped=totals.dropped,
        oldest_pending_seconds=None if oldest_at is None else max(0.0, time.time() - oldest_at),
        lease=totals.lease,
        last_sent_at=totals.last_sent_at,
        last_error=IN_USE if is_in_use(path) else totals.last_error,
    )
