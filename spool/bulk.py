"""
What is done with events by an explicit act: rejected ones wait again, or events are deleted.

In many small transactions, so that the log stays short, a crash loses nothing, and workers get their turn in between.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from .clock import monotonic
from .errors import SpoolFullError
from .ledger import queries, sql, transitions
from .ledger.selection import cutoff, selected
from .records import Requeued
from .steps import Steps
from .storage.changes import change

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from .records import Selection
    from .storage.connections import Connections
    from .storage.database import Database
    from .storage.limits import Limits

_MAX_ROWS = 250


class _Chunk(NamedTuple):
    """Consecutive rows: about as many as one transaction may move, with the bytes of those that are selected."""

    first: int
    last: int
    selected: int
    bytes: int


class Disposal:
    """
    Requeueing and purging.

    Args:
        database: The connections.
        space: The limits.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._steps = Steps(database, limits)

    def select(self, state: str, older_than: float) -> Selection:
        """
        The events that are in *state* now, and have been for so many seconds.

        Raises:
            ValueError: There is no such state, or no such age.
        """
        before = cutoff(state, older_than)
        with self._database.reading() as db:
            return selected(db, state, before)

    def requeue(self, selection: Selection) -> Requeued:
        """Append the rejected events again, in their order, and take them from the rejected ones; not damaged ones."""
        requeued = damaged = 0
        for chunk in self._rejected(selection):
            while (done := self._requeue_some(selection, chunk)) is None:
                pass
            requeued += done.requeued
            damaged += done.damaged
        return Requeued(requeued, damaged)

    def _requeue_some(self, selection: Selection, chunk: _Chunk) -> Requeued | None:
        """None where it is to be tried again: there was no room, and older sent events have been deleted."""
        try:
            return change(self._database, partial(self._requeue_chunk, selection.before, chunk))
        except SpoolFullError:
            if change(self._database, lambda db: transitions.prune(db, 0)) is None:
                raise
            return None

    def _requeue_chunk(self, before: float | None, chunk: _Chunk, db: sqlite3.Connection) -> Requeued:
        pages = _pages(db)
        done = _requeue(db, before, chunk)
        self._check_growth(pages, _pages(db), self._database.connections())
        return done

    def purge(self, selection: Selection) -> int:
        """Delete the events; how many that was. Those that were not sent are counted as dropped."""
        return {"rejected": self._purge_rejected, "pending": self._purge_pending, "sent": self._purge_sent}[
            selection.state
        ](selection)

    def _purge_rejected(self, selection: Selection) -> int:
        purged = 0
        for chunk in self._rejected(selection):
            purged += change(self._database, partial(_purge_rejected, selection.before, chunk))
        return purged

    def _purge_pending(self, selection: Selection) -> int:
        """From the oldest on, up to the first that is too young: what waits behind it keeps its place."""

        def purge_some(db: sqlite3.Connection) -> int | None:
            tail = queries.tail(db)
            found = db.execute(sql.WAITING_SIZES, (tail, selection.upto, _MAX_ROWS))
            chunk = _chunk(found.fetchall(), tail, self._steps.max_bytes)
            if not chunk:
                return None
            if chunk.selected != chunk.last - tail:
                queries.check_gap(chunk.first, chunk.last)
            return transitions.give_up(db, chunk.last)

        return self._steps.repeat(purge_some)

    def _purge_sent(self, selection: Selection) -> int:
        """Prune earlier than upkeep would; the ledger is pruned from its beginning, up to what is not settled."""

        def purge_some(db: sqlite3.Connection) -> int | None:
            age = 0.0 if selection.before is None else max(0.0, time.time() - selection.before)
            return transitions.prune(db, age, selection.upto, self._steps.max_bytes)

        return self._steps.repeat(purge_some)

    def _rejected(self, selection: Selection) -> Iterator[_Chunk]:
        """The chunks with selected rows in them; each is looked for without holding anybody up."""
        after = 0
        while True:
            with self._database.reading() as db:
                meant = (selection.before, selection.before, after, selection.upto, _MAX_ROWS)
                found = db.execute(sql.REJECTED_SIZES, meant)
                chunk = _chunk(found.fetchall(), after, self._steps.max_bytes)
            if not chunk:
                return
            after = chunk.last
            if chunk.selected:
                self._steps.keep_wal_short(chunk.bytes)
                began = monotonic()
                yield chunk
                self._steps.give_way(began)

    def _check_growth(self, before: int, after: int, connections: Connections) -> None:
        """The ledger's connection may pass the limit of the file, so that deleting works on a full spool."""
        if after > max(before, 0 if connections.volume_full else self._limits.max_pages(connections.page_size)):
            raise SpoolFullError(
                f"spool {self._database.path}: there is no room to requeue more. Let what is pending be sent, "
                + ("or free space on the volume." if connections.volume_full else "or raise max_spool_bytes.")
            )


def _chunk(rows: list[tuple[int, int, bool]], after: int, most_bytes: int) -> _Chunk | None:
    """
    As many of the *rows* beyond *after* as may be moved at once; each says its number, its size, and if it is meant.

    All of them have been fetched: a statement that is not at its end would keep the log from being begun anew.
    """
    last, selected, size = after, 0, 0
    for seq, length, matches in rows:
        if matches and selected and size + length > most_bytes:
            break
        last = seq
        if matches:
            selected += 1
            size += length
    return _Chunk(after + 1, last, selected, size) if last > after else None


def _requeue(db: sqlite3.Connection, before: float | None, chunk: _Chunk) -> Requeued:
    """Append the sound ones again, as of now."""
    meant = (chunk.first, chunk.last, before, before)
    rows = db.execute(sql.REJECTED_ROWS, meant).fetchall()
    sound = [row for row in rows if not queries.is_damaged(row)]
    now = time.time()
    for seq, _, _ in sound:
        db.execute(sql.TAKE_REJECTED, (seq,))
    for _, crc, payload in sound:
        db.execute(sql.APPEND, (now, crc, payload))
    db.execute(sql.UNCOUNT_REJECTED, (len(sound),))
    return Requeued(len(sound), len(rows) - len(sound))


def _purge_rejected(before: float | None, chunk: _Chunk, db: sqlite3.Connection) -> int:
    deleted = db.execute(sql.PURGE_REJECTED, (chunk.first, chunk.last, before, before)).rowcount
    db.execute(sql.UNCOUNT_REJECTED, (deleted,))
    db.execute(sql.COUNT_DROPPED, (deleted,))
    return deleted


def _pages(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA page_count").fetchone()[0])
