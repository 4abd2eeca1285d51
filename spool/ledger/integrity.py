"""Check whether the tables of a spool are consistent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import queries, sql
from .rows import Open

if TYPE_CHECKING:
    import sqlite3


def check(db: sqlite3.Connection) -> list[str]:
    """Return what is inconsistent, a sentence each."""
    found = [f"SQLite: {line}" for (line,) in db.execute("PRAGMA integrity_check") if line != "ok"]
    return found + missing(db) + _check_checksums(db) + _check_rejected(db)


def missing(db: sqlite3.Connection) -> list[str]:
    """Return which rows or ledger entries are missing or impossible, a sentence each."""
    return _check_values(db) or _check_ledger(db) + _check_numbers(db)


def _check_values(db: sqlite3.Connection) -> list[str]:
    """
    Check the values of the ledger and the summary row. If they are invalid, no other check can rely on them.

    SQLite stores any value in any column, and no checksum covers these tables.
    """
    (batches,) = db.execute(sql.INVALID_BATCHES).fetchone()
    batches = batches or sum(queries.is_impossible(Open(*row)) for row in db.execute(sql.EVERY_OPEN))
    (summaries,) = db.execute(sql.VALID_SUMMARIES).fetchone()
    found = [f"{batches} batches of the ledger hold invalid values"] if batches else []
    return found if summaries == 1 else [*found, "the summary row of the spool is invalid"]


def _check_ledger(db: sqlite3.Connection) -> list[str]:
    found = []
    expected = None
    for first, last, events, state in db.execute("SELECT first, last, events, state FROM batches ORDER BY first"):
        if expected not in (None, first):
            found.append(f"the ledger goes from row {expected} on, but the next batch begins at {first}")
        if state == "open" and events != _count(db, first, last):
            found.append(f"the open batch {first} to {last} should hold {events} events")
        expected = last + 1
    return found


def _check_numbers(db: sqlite3.Connection) -> list[str]:
    through, newest = queries.batched_through(db), queries.last_seq(db)
    if newest < through:
        return [f"the ledger covers the rows up to {through}, but the newest is {newest}"]
    if _count(db, through + 1, newest) != newest - through:
        return [f"rows are missing between {through + 1} and {newest}"]
    return []


def _check_checksums(db: sqlite3.Connection) -> list[str]:
    return [
        f"the checksum of row {row[0]} does not match"
        for row in db.execute(sql.EVERY)
        if queries.checksum_mismatch(row)
    ]


def _check_rejected(db: sqlite3.Connection) -> list[str]:
    (kept,) = db.execute("SELECT count(*) FROM rejected").fetchone()
    counted = queries.totals(db).rejected
    return [] if kept == counted else [f"{counted} rejected events are counted, {kept} are kept"]


def _count(db: sqlite3.Connection, first: int, last: int) -> int:
    return int(db.execute("SELECT count(*) FROM events WHERE seq BETWEEN ? AND ?", (first, last)).fetchone()[0])
