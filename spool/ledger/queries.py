"""
The ledger of batches: what it says.

Functions over a connection; none of them writes. What changes the ledger is in `ledger`.
"""

from __future__ import annotations

import re
import time
import zlib
from typing import TYPE_CHECKING, NoReturn

from ..errors import SpoolCorruptError
from . import sql
from .rows import Open, Settled, Totals

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_REQUEST_ID = re.compile("[0-9a-f]{32}")

StoredRow = tuple[int, int, bytes]
"""An event as it is stored: its number, its checksum, its payload; as SQLite hands it out, since all are so fetched."""


def batched_through(db: sqlite3.Connection) -> int:
    """The last row that has been given to a batch, 0 where none has."""
    found = db.execute(sql.BATCHED_THROUGH).fetchone()
    return int(found[0]) if found else 0


def last_seq(db: sqlite3.Connection) -> int:
    """The newest row, 0 where there is none."""
    return int(db.execute(sql.LAST_SEQ).fetchone()[0] or 0)


def checksum_mismatch(row: StoredRow) -> bool:
    """Whether the payload is not the one that was appended."""
    _, crc, payload = row
    return zlib.crc32(payload) != crc


def pending(db: sqlite3.Connection, after: int, max_events: int, max_bytes: int) -> list[StoredRow]:
    """
    The next rows beyond *after*: at least one if there is any, and no more than both limits allow.

    Raises:
        SpoolCorruptError: There are gaps between them.
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
    """The oldest batch beyond row *after* whose outcome is not known."""
    found = db.execute(sql.FIRST_OPEN, (after or -sql.MAX_SEQ - 1,)).fetchone()  # a damaged one may begin before row 1
    return Open(*found) if found else None


def intact(rows: list[StoredRow]) -> list[StoredRow]:
    """The *rows* before the first that is damaged."""
    are_intact = [zlib.crc32(payload) == crc for _, crc, payload in rows]
    return rows if all(are_intact) else rows[: are_intact.index(False)]


def prunable(db: sqlite3.Connection, retention: float, upto: int | None = None, most: int = 1) -> list[Settled]:
    """Return up to *most* of the oldest batches, if they were settled *retention* seconds ago and end by row *upto*."""
    found: list[Settled] = []
    for row in map(Settled._make, db.execute(sql.OLDEST_UNPRUNED, (most,)).fetchall()):
        # Either way: where the clock has been put back, what was settled "in the future" is not kept until then.
        _check_settled(db, row)
        kept = row.state == "sent" and abs(time.time() - row.settled_at) < retention
        if kept or row.state == "open" or (upto is not None and row.last > upto):
            break
        found.append(row)
    return found


def unsettled(db: sqlite3.Connection, upto: int) -> int:
    """How many events up to row *upto* have no outcome yet."""
    (_, in_flight, _) = db.execute(sql.IN_FLIGHT, (upto,)).fetchone()
    return max(0, upto - batched_through(db)) + int(in_flight)


def appended_at(db: sqlite3.Connection, seq: int) -> float | None:
    """When the row was appended, by the wall clock; None where it is not there."""
    found = db.execute(sql.APPENDED_AT, (seq,)).fetchone()
    return float(found[0]) if found else None


def totals(db: sqlite3.Connection) -> Totals:
    """The spool's counters."""
    sent, rejected, dropped, flush_to, last_sent_at, last_error, pid, host, since = db.execute(sql.SUMMARY).fetchone()
    holder = (pid, host, since) if pid else None
    return Totals(int(sent), int(rejected), int(dropped), int(flush_to), last_sent_at, last_error, holder)


def is_request_id(text: str) -> bool:
    """Return whether *text* is the request id of a batch that has been uploaded, or was about to be."""
    return _REQUEST_ID.fullmatch(text) is not None


def is_senseless(row: Open) -> bool:
    """Whether the ledger says what makes no sense of an open batch: it may be a request of any size under any id."""
    return not (0 < row.first <= row.last and row.last - row.first + 1 == row.events and is_request_id(row.request_id))


def _check_settled(db: sqlite3.Connection, row: Settled) -> None:
    """Delete no event because of a ledger that makes no sense: no checksum covers it."""
    end = last_seq(db) if row.next is None else row.next - 1
    bounds_fit = row.last == end or (row.next is None and row.first <= row.last <= end)
    if row.state != "open" and not (bounds_fit and row.state in sql.SETTLED_STATES):
        check_batch(row.first)


def check_batch(first: int) -> NoReturn:
    """
    Say that the ledger makes no sense.

    Raises:
        SpoolCorruptError: Always.
    """
    raise SpoolCorruptError(f"the ledger says what makes no sense of the batch from row {first} on - keep it")


def check_newest(db: sqlite3.Connection, path: Path) -> None:
    """
    See that the newest rows are there: or new ones would get their numbers, and count as settled.

    Raises:
        SpoolCorruptError: They are not.
    """
    if last_seq(db) < batched_through(db):
        raise SpoolCorruptError(f"spool {path}: its newest events are missing - keep the file")


def check_gaps(rows: list[StoredRow], first: int, last: int) -> None:
    """What damage has taken out of the tree may still be on the disk, for as long as nothing is written there."""
    if len(rows) != last - first + 1 or [seq for seq, _, _ in rows] != list(range(first, last + 1)):
        check_gap(first, last)


def check_gap(first: int, last: int) -> NoReturn:
    """
    Say that of these rows not all are there, though nobody took them away.

    Raises:
        SpoolCorruptError: Always.
    """
    raise SpoolCorruptError(f"events have vanished from among rows {first} to {last} of the spool - keep the file")
