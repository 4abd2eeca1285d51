"""Which events an explicit act is about, and how many they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..records import SELECTABLE_STATES, Selection
from . import queries, sql

if TYPE_CHECKING:
    import sqlite3


def cutoff(state: str, older_than: float) -> float | None:
    """
    Until when an event must have come into *state* to be so many seconds old; None where its age does not matter.

    Raises:
        ValueError: There is no such state, or no such age.
    """
    if state not in SELECTABLE_STATES:
        raise ValueError(f"state must be one of {', '.join(SELECTABLE_STATES)}, not {state!r}")
    if not older_than >= 0:
        raise ValueError(f"older_than must be a number of seconds, 0 or more, not {older_than!r}")
    return time.time() - older_than if older_than else None


def selected(db: sqlite3.Connection, state: str, before: float | None) -> Selection:
    """The events that are in *state* now, and have been since *before*."""
    upto, events = _COUNTS[state](db, before)
    return Selection(state, before, upto, events)


def _count_rejected(db: sqlite3.Connection, before: float | None) -> tuple[int, int]:
    (upto,) = db.execute(sql.LAST_REJECTED).fetchone()
    if before is None:
        return upto, queries.totals(db).rejected
    (events,) = db.execute(sql.COUNT_REJECTED_BEFORE, (before, upto)).fetchone()
    return upto, events


def _count_pending(db: sqlite3.Connection, before: float | None) -> tuple[int, int]:
    tail, upto = queries.tail(db), queries.last_seq(db)
    if before is not None:
        young = db.execute(sql.FIRST_WAITING_SINCE, (tail, before)).fetchone()
        upto = young[0] - 1 if young else upto
    return upto, max(0, upto - tail)


def _count_sent(db: sqlite3.Connection, before: float | None) -> tuple[int, int]:
    upto = count = 0
    for last, events, state, settled_at in db.execute(sql.UNPRUNED):
        if state == "open" or (state == "sent" and before is not None and settled_at > before):
            break
        upto = last
        count += events if state == "sent" else 0
    return upto, count


_COUNTS = {"rejected": _count_rejected, "pending": _count_pending, "sent": _count_sent}
