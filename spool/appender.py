"""Appending: a row is committed before the call returns."""

from __future__ import annotations

import sqlite3
import time
import zlib
from functools import partial
from typing import TYPE_CHECKING

from .errors import (
    SpoolBusyError,
    SpoolCorruptError,
    SpoolFullError,
    WriteLockTakenError,
    from_sqlite_error,
    is_of_cut_wal,
    is_volume_full,
)
from .group_commit import Rows
from .ledger import sql, transitions
from .storage.changes import change
from .storage.connections import Connections
from .storage.limits import WalFullError, wal_growth
from .storage.recovery import WalLostError
from .storage.reports import LOST_AGAIN
from .storage.sqlite import BusyTimeout, check_not_nested, retry_while_busy
from .storage.wal_limit import WalLimit

if TYPE_CHECKING:
    from .storage.database import Database
    from .storage.limits import Limits
    from .storage.redo import Row

_FULL_POLL_SECONDS = 0.05
_MAX_LOSSES = 5


class Appender:
    """
    Commits rows.

    Args:
        database: The connections.
        limits: The limits.
        on_full: "raise", "block" or "drop_oldest".
    """

    def __init__(self, database: Database, limits: Limits, on_full: str) -> None:
        self._database = database
        self._limits = limits
        self._on_full = on_full
        self._wal_limit = WalLimit(database, limits)

    @staticmethod
    def row(payload: bytes) -> Row:
        """Return the row that stores *payload*."""
        return time.time(), zlib.crc32(payload), payload

    def append_one(self, row: Row) -> int:
        """
        Commit *row*, as `append` does. This is the fast path, which nearly every call takes.

        If anything stands in its way, nothing is committed, and `append` does the work.
        """
        database = self._database
        with database.write_mutex:
            connections, redo = database.opened, database.redo
            growth = wal_growth(len(row[2]), connections.page_size) if connections is not None else 0
            if connections is not None and connections.lock.owner is None and not redo.due(growth):
                try:
                    connections.lock.take()
                    seq = connections.append.execute(sql.APPEND, row).lastrowid or 0
                    connections.lock.give()
                except sqlite3.Error:
                    connections.lock.give()  # waiting for room with the lock held would keep it from being made
                except BaseException:
                    connections.lock.give()
                    raise
                else:
                    redo.add(seq, row, growth)
                    return seq
        return self.append([row])

    def append(self, rows: list[Row]) -> int:
        """
        Commit *rows* together. Return the number of the last. The numbers of the others precede it.

        Room is only made for a single row. Of several, each may fit even if all together do not.

        Raises:
            SpoolError: Nothing was committed.
        """
        return self.commit(Rows(rows))

    def commit(self, rows: Rows[Row]) -> int:
        """Do as `append`, and set `rows.last` even if an exception comes after the commit."""
        size = sum(len(row[2]) for row in rows)
        self._limits.check_size(size, self._database.path)
        losses = damages = refusals = 0
        until = BusyTimeout(rows.until).until
        while True:
            try:
                return self._commit(rows, size, until)
            except WalLostError as error:
                losses += 1
                if losses > _MAX_LOSSES:
                    raise SpoolBusyError(f"spool {self._database.path}: {LOST_AGAIN}") from error
                self._database.recover()
            except SpoolCorruptError:
                if damages > 1:
                    raise
                self._database.quarantine_if_corrupt(sure=damages == 1)
                damages += 1
            except WalFullError:
                if not self._wait_for_room():
                    raise
                until = BusyTimeout().until
            except SpoolFullError as error:
                refusals += 1
                if len(rows) > 1 or not self._make_room(size, error, refusals):
                    raise
                until = BusyTimeout().until

    def _commit(self, rows: Rows[Row], size: int, until: float) -> int:
        def attempt() -> tuple[int, Connections]:
            with self._database.exclusive() as connections:
                return self._insert(connections, rows, size), connections

        seq, connections = retry_while_busy(attempt, until)
        connections.lock.give_way()
        return seq

    def _insert(self, connections: Connections, rows: Rows[Row], size: int) -> int:
        """Append in one statement, so that a call that interrupts this one never finds a transaction half done."""
        database = self._database
        growth = wal_growth(size, connections.page_size)
        statement = sql.APPEND + sql.APPEND_MORE * (len(rows) - 1)
        values = rows[0] if len(rows) == 1 else tuple(value for row in rows for value in row)
        before = connections.append.total_changes
        try:
            check_not_nested(connections.ledger, database.path)
            with connections.lock.held():
                if database.redo.due(growth):
                    database.verify(connections)
                    self._wal_limit.make_room(connections, size, growth)
                rows.last = connections.append.execute(statement, values).lastrowid or 0
                if not connections.watch.header:
                    connections.watch.see_wal()  # it was empty; if it is empty at the next look too, it was cut short
        except WriteLockTakenError as error:  # says nothing of the files, and comes too often to look at them each time
            raise from_sqlite_error(error, str(database.path)) from error
        except sqlite3.Error as error:
            database.note_error(error)
            if connections.lost or is_of_cut_wal(error) or database.reconnect_due():
                raise WalLostError from error  # whatever SQLite makes of that
            self._check_limit(connections, growth, error)
            raise from_sqlite_error(error, str(database.path)) from error
        finally:
            if not rows.last and connections.append.total_changes != before:  # interrupted right behind the commit
                (rows.last,) = connections.append.execute("SELECT last_insert_rowid()").fetchone()
        database.redo.add_all(zip(range(rows.last - len(rows) + 1, rows.last + 1), rows, strict=True), growth)
        return rows.last

    def _check_limit(self, connections: Connections, growth: int, error: sqlite3.Error) -> None:
        """Raise SpoolFullError if SQLite calls the disk full because the file has reached the limit set for it."""
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_FULL:
            return
        (pages,) = connections.append.execute("PRAGMA page_count").fetchone()
        if pages + growth // connections.page_size > self._limits.max_pages(connections.page_size):
            raise SpoolFullError(
                f"spool {self._database.path}: it has reached its limit of {self._limits.max_bytes} bytes. Raise "
                "max_spool_bytes, or find out why its events are not sent (python -m alignai.spool inspect)."
            )

    def _make_room(self, size: int, error: SpoolFullError, refusals: int) -> bool:
        """Make room, or wait for it if this spool waits. Return whether to try again."""
        try:
            if refusals == 1 and is_volume_full(error):
                self._database.write(Connections.checkpoint)  # there may be room in the file, and none for a longer WAL
                return True
            if change(self._database, partial(self._delete_some, size)):
                return True
        except SpoolFullError:
            if self._on_full != "block":
                raise
        return self._wait_for_room()

    def _delete_some(self, size: int, db: sqlite3.Connection) -> bool:
        return transitions.prune(db, 0) is not None or (
            self._on_full == "drop_oldest" and transitions.drop(db, size) > 0
        )

    def _wait_for_room(self) -> bool:
        """Wait a little if this spool waits at all. Return whether it did."""
        if self._on_full != "block" or self._database.closed:
            return False
        time.sleep(_FULL_POLL_SECONDS)
        return True
