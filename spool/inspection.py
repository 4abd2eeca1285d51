"""Look at a spool from outside: nothing is created, changed or locked, and no worker is delayed."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .holder import STATES, state_of
from .ledger import sql
from .stats import stats
from .storage.readonly import open_readonly
from .storage.sqlite import has_wal_reset_bug

__all__ = ["STATES", "inspect", "project_of"]


def inspect(path: str) -> dict[str, Any]:
    """
    Return the figures of the spool at *path*, which is not a link, by the names that scripts rely on.

    Raises:
        SpoolError: The spool cannot be read.
    """
    file = Path(path)
    with open_readonly(file) as db:
        figures = asdict(now := stats(db, file))
    if now.lease is not None:
        state = state_of(now.lease, file)
        alive = None if state == "unknown" else state in {"running", "stopped"}
        figures["lease"] = {**asdict(now.lease), "alive": alive, "state": state}
    figures["sqlite_version"] = sqlite3.sqlite_version
    figures["sqlite_wal_reset_bug"] = has_wal_reset_bug()
    return figures


def project_of(path: str) -> str:
    """
    Return the id of the project that the spool at *path* belongs to.

    Raises:
        SpoolError: The spool cannot be read.
    """
    with open_readonly(Path(path)) as db:
        (project_id,) = db.execute(sql.PROJECT).fetchone()
    return str(project_id)
