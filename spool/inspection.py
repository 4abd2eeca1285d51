"""
Look at a spool from outside. Nothing is created, changed or locked, and no worker is delayed.

Each import here and below is one that `python -m alignai.spool inspect` waits for. So the figures are a dict: the
records are dataclasses, which take longer to import than the spool to read.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any

from .holder import STATES, state_of
from .ledger import queries, sql
from .storage.paths import is_reserve_in_use, reserve_of, shm_of, size_of, wal_of
from .storage.readonly import open_readonly
from .storage.sqlite import has_wal_reset_bug

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STATES", "inspect", "project_of", "read_figures"]

_RESERVE_IN_USE = "the volume is full: events are refused, and the room kept for uploading and deleting is in use"


def inspect(path: str) -> dict[str, Any]:
    """
    Return the figures of the spool at *path*, which is not a link, by the names that scripts rely on.

    Raises:
        SpoolError: The spool cannot be read.
    """
    with open_readonly(path) as db:
        figures = read_figures(db, path)
    lease = figures["lease"]
    if lease:
        state = state_of(lease["pid"], lease["host"], path)
        lease["alive"] = None if state == "unknown" else state in {"running", "stopped"}
        lease["state"] = state
    figures["sqlite_version"] = sqlite3.sqlite_version
    figures["sqlite_wal_reset_bug"] = has_wal_reset_bug()
    return figures


def read_figures(db: sqlite3.Connection, path: Path | str) -> dict[str, Any]:
    """Return the fields of `Stats`. The cost does not grow with the number of events."""
    totals = queries.totals(db)
    through = queries.batched_through(db)
    (_, in_flight, first_open) = db.execute(sql.IN_FLIGHT, (sql.MAX_SEQ,)).fetchone()
    oldest_at = queries.appended_at(db, first_open or through + 1)
    wal_bytes = size_of(wal_of(path))
    return {
        "path": str(path),
        "bytes": wal_bytes + sum(map(size_of, (path, shm_of(path), reserve_of(path)))),
        "wal_bytes": wal_bytes,
        "pending": max(0, queries.last_seq(db) - through),
        "in_flight": int(in_flight),
        "sent": totals.sent,
        "rejected": totals.rejected,
        "dropped": totals.dropped,
        "oldest_pending_seconds": None if oldest_at is None else max(0.0, time.time() - oldest_at),
        "lease": dict(zip(("pid", "host", "since"), totals.lease, strict=True)) if totals.lease else None,
        "last_sent_at": totals.last_sent_at,
        "last_error": _RESERVE_IN_USE if is_reserve_in_use(path) else totals.last_error,
    }


def project_of(path: str) -> str:
    """
    Return the id of the project that the spool at *path* belongs to.

    Raises:
        SpoolError: The spool cannot be read.
    """
    with open_readonly(path) as db:
        (project_id,) = db.execute(sql.PROJECT).fetchone()
    return str(project_id)
