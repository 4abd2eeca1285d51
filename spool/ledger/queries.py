"""
Reading the tables: functions over a connection.

None of them writes. The functions that change the tables are in `transitions`.
"""

from __future__ import annotations

import re
import time
import zlib
from typing import TYPE_CHECKING, NoReturn

from ..errors import KEEP_FILE, SpoolCorruptError
from . import sql
from .rows import Open, Settled, Totals

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_REQUEST_ID = re.compile("[0-9a-f]{32}")

StoredRow = tuple[int, int, bytes]
"""An event as it is stored: its number, checksum and payload. A plain tuple, because every event read is one."""


def batched_through(db: sqlite3.Connection) -> int:
    """Return the last row that has been given to a batch, or 0 if there is none."""
    found = db.execute(sql.BATCHED_THROUGH).fetchone()
    return int(found[0]) if found else 0


def last_seq(db: sqlite3.Connection) -> int:
    """Return the number of the newest row, or 0 if there is none."""
    return int(db.execute(sql.LAST_SEQ).fetchone()[0] or 0)


def checksum_mismatch(row: StoredRow) -> bool:
    """Return whether the payload differs from the one that was appended."""
    _, crc, payload = row
    return zlib.crc32(payload) != crc


def pending(db: sqlite3.Connection, after: int, max_events: int, max_bytes: int) -> list[StoredRow]:
    """
    Return the next rows beyond *after*: at least one if there is any, and no more than both limits allow.

    Raises:
        SpoolCorruptError: Rows between them are missing.
    """
    rows: list[StoredRow] = []
    size = 0
    for row in db.execute(sql.PENDING, (after, max_events)):
        size += len(row[2])
        if rows and size > max_bytes:
            break
        rows.append(row)
    check_gaps(rows, after + 1, after + len(rows))
    return rows


def first_open(db: sqlite3.Connection, after: int) -> Open | None:
    """Return the oldest open batch beyond row *after*, or None if there is none."""
    found = db.execute(
        sql.FIRST_OPEN, (after or -sql.MAX_SEQ - 1,)
    ).fetchone()  # a corrupt entry may begin before row 1
    return Open(*found) if found else None


def intact(rows: list[StoredRow]) -> list[StoredRow]:
    """Return the *rows* before the first damaged one."""
    are_intact = [zlib.crc32(payload) == crc for _, crc, payload in rows]
    return rows if all(are_intact) else rows[: are_intact.index(False)]


def prunable(db: sqlite3.Connection, retention: float, upto: int | None = None, most: int = 1) -> list[Settled]:
    """Return up to *most* of the oldest batches, if they were settled *retention* seconds ago and end by row *upto*."""
    found: list[Settled] = []
    for row in map(Settled._make, db.execute(sql.OLDEST_UNPRUNED, (most,)).fetchall()):
        # abs(): if the clock was set back, a batch that was settled "in the future" is not kept until then.
        _check_settled(db, row)
        kept = row.state == "sent" and abs(time.time() - row.settled_at) < retention
        if kept or row.state == "open" or (upto is not None and row.last > upto):
            break
        found.append(row)
    return found


def unsettled(db: sqlite3.Connection, upto: int) -> int:
    """Return how many events up to row *upto* have no outcome yet."""
    (_, in_flight, _) = db.execute(sql.IN_FLIGHT, (upto,)).fetchone()
    return max(0, upto - batched_through(db)) + int(in_flight)


def appended_at(db: sqlite3.Connection, seq: int) -> float | None:
    """Return the time of the append, in seconds since 1970, or None if there is no such row."""
    found = db.execute(sql.APPENDED_AT, (seq,)).fetchone()
    return float(found[0]) if found else None


def totals(db: sqlite3.Connection) -> Totals:
    """Return the counters of the spool."""
    sent, rejected, dropped, flush_to, last_sent_at, last_error, pid, host, since = db.execute(sql.SUMMARY).fetchone()
    holder = (pid, host, since) if pid else None
    return Totals(int(sent), int(rejected), int(dropped), int(flush_to), last_sent_at, last_error, holder)


def is_request_id(text: str) -> bool:
    """Return whether *text* is the request id of a batch that has been uploaded, or was about to be."""
    return _REQUEST_ID.fullmatch(text) is not None


def is_impossible(row: Open) -> bool:
    """Return whether an open ledger entry is impossible. Acting on it could send any request under any id."""
    return not (0 < row.first <= row.last and row.last - row.first + 1 == row.events and is_request_id(row.request_id))


def _check_settled(db: sqlite3.Connection, row: Settled) -> None:
    """Raise SpoolCorruptError if a ledger entry is impossible, so that no event is deleted because of it."""
    end = last_seq(db) if row.next is None else row.next - 1
    bounds_fit = row.last == end or (row.next is None and row.first <= row.last <= end)
    if row.state != "open" and not (bounds_fit and row.state in sql.SETTLED_STATES):
        report_invalid_batch(row.first)


def report_invalid_batch(first: int) -> NoReturn:
    """
    Report an impossible ledger entry.

    Raises:
        SpoolCorruptError: Always.
    """
    raise SpoolCorruptError(
        f"the file is corrupt: the ledger entry for the batch starting at row {first} is invalid. {KEEP_FILE}"
    )


def check_newest(db: sqlite3.Connection, path: Path) -> None:
    """
    Check that the newest rows exist. Otherwise new rows would get their numbers, and count as settled.

    Raises:
        SpoolCorruptError: They are missing.
    """
    if last_seq(db) < batched_through(db):
        raise SpoolCorruptError(f"spool {path}: the file is corrupt: its newest events are missing. {KEEP_FILE}")


def check_gaps(rows: list[StoredRow], first: int, last: int) -> None:
    """
    Raise SpoolCorruptError unless *rows* are all rows from *first* to *last*.

    Rows that damage has taken out of the b-tree may still be on the disk, for as long as nothing is written there.
    """
    if len(rows) != last - first + 1 or [seq for seq, _, _ in rows] != list(range(first, last + 1)):
        report_gap(first, last)


def report_gap(first: int, last: int) -> NoReturn:
    """
    Report that some of these rows are missing.

    Raises:
        SpoolCorruptError: Always.
    """
    raise SpoolCorruptError(f"the file is corrupt: some events in rows {first} to {last} have vanished. {KEEP_FILE}")
