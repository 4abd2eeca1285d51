"""Appending: a row is committed before the call returns."""

from __future__ import annotations

import sqlite3
import time
import zlib
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from .clock import monotonic
from .errors import (
    SpoolBusyError,
    SpoolCorruptError,
    SpoolFullError,
    WriteLockTakenError,
    is_lasting,
    is_of_cut_log,
    is_volume_full,
    translated,
)
from .group_commit import Rows
from .ledger import sql, transitions
from .storage.changes import change
from .storage.connections import Links
from .storage.database import LogLostError
from .storage.limits import LogFullError, in_the_log
from .storage.recovery import LOST_AGAIN
from .storage.redo import VERIFY_ROWS, VERIFY_SECONDS
from .storage.sqlite import Patience, patiently, refuse_nested

if TYPE_CHECKING:
    from .storage.database import Access
    from .storage.limits import Space
    from .storage.redo import Row

_FULL_POLL_SECONDS = 0.05
_MOST_LOSSES = 5


class Appender:
    """
    The way of a row into the file.

    Args:
        access: The connections.
        space: The limits.
        on_full: "raise", "block" or "drop_oldest".
    """

    def __init__(self, access: Access, space: Space, on_full: str) -> None:
        self._access = access
        self._space = space
        self._on_full = on_full
        self._unverified_bytes = space.unverified_bytes

    @staticmethod
    def row(payload: bytes) -> Row:
        """What is stored of *payload*."""
        return time.time(), zlib.crc32(payload), payload

    def append_one(self, row: Row) -> int:
        """
        Commit *row*, as `append` does: the short way, which nearly every call takes.

        Whatever stands in its way is left to `append` to find out; nothing is committed then.
        """
        access = self._access
        with access.writing:
            links = access.opened
            growth = in_the_log(len(row[2]), links.page_size) if links is not None else 0
            if links is not None and links.lock.owner is None and not self._verification_due(growth):
                try:
                    links.lock.take()
                    seq = links.append.execute(sql.APPEND, row).lastrowid or 0
                    links.lock.give()
                except sqlite3.Error:
                    links.lock.give()  # waiting for room with the lock held would keep it from being made
                except BaseException:
                    links.lock.give()
                    raise
                else:
                    recent = access.recent
                    recent.unverified.append((seq, row))
                    recent.unverified_bytes += growth
                    access.dirty = True
                    return seq
        return self.append([row])

    def append(self, rows: list[Row]) -> int:
        """
        Commit *rows* together; the number of the last is returned, the others' precede it.

        Room is only made for one row: of several, each may fit where all do not.

        Raises:
            SpoolError: Nothing was committed.
        """
        return self.commit(Rows(rows))

    def commit(self, rows: Rows[Row]) -> int:
        """Do the same, and set `rows.last` whatever exception comes after the commit."""
        size = sum(len(row[2]) for row in rows)
        self._space.refuse_oversize(size, self._access.path)
        losses = damages = refusals = 0
        until = Patience(rows.until).until
        while True:
            try:
                return self._commit(rows, size, until)
            except LogLostError as error:
                losses += 1
                if losses > _MOST_LOSSES:
                    raise SpoolBusyError(f"spool {self._access.path}: {LOST_AGAIN}") from error
                self._access.recover()
            except SpoolCorruptError:
                if damages > 1:
                    raise
                self._access.replace_damaged(sure=damages == 1)
                damages += 1
            except LogFullError:
                if not self._wait_for_room():
                    raise
                until = Patience().until
            except SpoolFullError as error:
                refusals += 1
                if len(rows) > 1 or not self._make_room(size, error, refusals):
                    raise
                until = Patience().until

    def _commit(self, rows: Rows[Row], size: int, until: float) -> int:
        def attempt() -> tuple[int, Links]:
            with self._access.exclusive() as links:
                return self._insert(links, rows, size), links

        seq, links = patiently(attempt, until)
        links.lock.give_way()
        return seq

    def _insert(self, links: Links, rows: Rows[Row], size: int) -> int:
        """Append in one statement, so that no call that interrupts this one finds a transaction half way."""
        access = self._access
        growth = in_the_log(size, links.page_size)
        statement = sql.APPEND + sql.APPEND_MORE * (len(rows) - 1)
        values = rows[0] if len(rows) == 1 else tuple(value for row in rows for value in row)
        before = links.append.total_changes
        try:
            refuse_nested(links.ledger, access.path)
            with links.lock.held():
                if self._verification_due(growth):
                    self._verify(links, size, growth)
                rows.last = links.append.execute(statement, values).lastrowid or 0
                if not links.watch.header:
                    links.watch.see_wal()  # it was empty at the look; if it is so again at the next, it was cut short
        except WriteLockTakenError as error:  # says nothing of the files, and comes too often to look at them each time
            raise translated(error, str(access.path)) from error
        except sqlite3.Error as error:
            access.broken = access.broken or is_lasting(error)
            if links.lost or is_of_cut_log(error) or access.reconnect_due():
                raise LogLostError from error  # whatever SQLite makes of that
            self._refuse_at_limit(links, growth, error)
            raise translated(error, str(access.path)) from error
        finally:
            if not rows.last and links.append.total_changes != before:  # interrupted right behind the commit
                (rows.last,) = links.append.execute("SELECT last_insert_rowid()").fetchone()
        access.recent.unverified += zip(range(rows.last - len(rows) + 1, rows.last + 1), rows, strict=True)
        access.recent.unverified_bytes += growth
        access.dirty = True
        return rows.last

    def _refuse_at_limit(self, links: Links, growth: int, error: sqlite3.Error) -> None:
        """Raise SpoolFullError if SQLite calls the disk full because the file has reached the limit set for it."""
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_FULL:
            return
        (pages,) = links.append.execute("PRAGMA page_count").fetchone()
        if pages + growth // links.page_size > self._space.max_pages(links.page_size):
            raise SpoolFullError(
                f"spool {self._access.path}: it has reached its limit of {self._space.max_bytes} bytes - raise "
                "max_spool_bytes, or see why its events are not sent (python -m alignai.spool inspect)"
            )

    def _verification_due(self, growth: int) -> bool:
        recent = self._access.recent
        return (
            monotonic() - recent.verified_at > VERIFY_SECONDS
            or len(recent.unverified) >= VERIFY_ROWS
            or recent.unverified_bytes + growth > self._unverified_bytes
        )

    def _verify(self, links: Links, size: int, growth: int) -> None:
        """See that the log is in its place and has room; nobody else writes to it meanwhile."""
        self._access.verify(links)
        log_bytes = links.log_bytes
        self._access.log_is_long = log_bytes > self._space.checkpoint_at
        self._unverified_bytes = links.unverified_bytes
        if links.must_shorten(growth):
            self._space.refuse_large_pages(size, links.page_size, self._access.path)
            self._keep_log_short(links, growth)

    def _keep_log_short(self, links: Links, growth: int) -> None:
        """Last resort, where upkeep has not kept up: without it the log would outgrow the spool's limit."""
        with suppress(sqlite3.OperationalError):
            links.checkpoint()
            links.restart_log()
        self._space.refuse_long_log(links.log_bytes + growth, self._access.path)
        if not links.volume_full and links.is_beyond_reserve(growth):
            raise LogFullError(
                f"spool {self._access.path}: the volume is too full for an event of {growth} bytes. Free space on it."
            )

    def _make_room(self, size: int, error: SpoolFullError, refusals: int) -> bool:
        """Whether to try again: something was deleted, or this spool waits until something will be."""
        try:
            if refusals == 1 and is_volume_full(error):
                self._access.write(Links.checkpoint)  # there may be room in the file, and none for a longer log
                return True
            if change(self._access, partial(self._delete_some, size)):
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
        """Wait a little, where this spool waits at all; whether it did."""
        if self._on_full != "block" or self._access.closed:
            return False
        time.sleep(_FULL_POLL_SECONDS)
        return True
