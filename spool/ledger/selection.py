"""
Which events `requeue` and `purge` are about, how many there are, and the chunks in which they are moved.

Each chunk is one small transaction, so that the WAL stays short, a crash loses nothing, and other writers get their
turn in between.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from ..records import SELECTABLE_STATES, Selection
from . import queries, sql

if TYPE_CHECKING:
    import sqlite3

_MAX_ROWS = 250


class Chunk(NamedTuple):
    """Consecutive rows, at most as many as one transaction may move, and the bytes of those that are selected."""

    first: int
    last: int
    selected: int
    bytes: int


def cutoff(state: str, older_than: float) -> float | None:
    """
    Return the time until which an event must have entered *state*, or None if its age does not matter.

    Raises:
        ValueError: The state or the age is invalid.
    """
    if state not in SELECTABLE_STATES:
        raise ValueError(f"state must be one of {', '.join(SELECTABLE_STATES)}, not {state!r}")
    if not older_than >= 0:
        raise ValueError(f"older_than must be a number of seconds, 0 or more, not {older_than!r}")
    return time.time() - older_than if older_than else None


def selected(db: sqlite3.Connection, state: str, before: float | None) -> Selection:
    """Return the selection of the events that are in *state* now and entered it by *before*."""
    upto, events = _COUNTS[state](db, before)
    return Selection(state, before, upto, events)


def _count_rejected(db: sqlite3.Connection, before: float | None) -> tuple[int, int]:
    (upto,) = db.execute(sql.LAST_REJECTED).fetchone()
    if before is None:
        return upto, queries.totals(db).rejected
    (events,) = db.execute(sql.COUNT_REJECTED_BEFORE, (before, upto)).fetchone()
    return upto, events


def _count_pending(db: sqlite3.Connection, before: float | None) -> tuple[int, int]:
    through, upto = queries.batched_through(db), queries.last_seq(db)
    if before is not None:
        too_young = db.execute(sql.FIRST_PENDING_SINCE, (through, before)).fetchone()
        upto = too_young[0] - 1 if too_young else upto
    return upto, max(0, upto - through)


def _count_sent(db: sqlite3.Connection, before: float | None) -> tuple[int, int]:
    upto = count = 0
    for last, events, state, settled_at in db.execute(sql.UNPRUNED):
        if state == "open" or (state == "sent" and before is not None and settled_at > before):
            break
        upto = last
        count += events if state == "sent" else 0
    return upto, count


_COUNTS = {"rejected": _count_rejected, "pending": _count_pending, "sent": _count_sent}


def next_rejected(db: sqlite3.Connection, selection: Selection, after: int, max_bytes: int) -> Chunk | None:
    """Return the next chunk of rejected rows beyond row *after*, or None if there is none. It may select none."""
    selection_args = (selection.before, selection.before, after, selection.upto, _MAX_ROWS)
    return _next_chunk(db.execute(sql.REJECTED_SIZES, selection_args).fetchall(), after, max_bytes)


def next_pending(db: sqlite3.Connection, after: int, upto: int, max_bytes: int) -> Chunk | None:
    """Return the next chunk of pending rows beyond row *after*, or None if there is none."""
    return _next_chunk(db.execute(sql.PENDING_SIZES, (after, upto, _MAX_ROWS)).fetchall(), after, max_bytes)


def _next_chunk(rows: list[tuple[int, int, bool]], after: int, max_bytes: int) -> Chunk | None:
    """
    Return as many of the *rows* beyond *after* as may be moved at once.

    A row says its number, its size, and whether it is selected. All rows have been fetched, since a statement that is
    not at its end would keep the WAL from being restarted.
    """
    last, count, size = after, 0, 0
    for seq, length, is_selected in rows:
        if is_selected and count and size + length > max_bytes:
            break
        last = seq
        if is_selected:
            count += 1
            size += length
    return Chunk(after + 1, last, count, size) if last > after else None
