"""The spool: a durable queue in one SQLite file, shared by all processes of a machine. Bytes in, batches out."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .appender import Appender
from .errors import SpoolBusyError, SpoolError
from .group_commit import GroupCommit
from .ledger import queries, sql, transitions
from .ledger.integrity import check
from .ledger.selection import cutoff, selected
from .maintenance import Maintenance
from .purge import Purge
from .requeue import Requeue
from .stats import backlog, stats
from .storage.changes import change
from .storage.database import Database
from .storage.files import check_ownership
from .storage.holding import interruptible
from .storage.limits import Limits
from .storage.sqlite import BusyTimeout

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from .records import Backlog, Batch, Notice, Requeued, Selection, Stats

_MAX_ATTEMPTS = 1000
"""How often a batch is begun anew because the events that wait have changed meanwhile."""


class _OvertakenError(Exception):
    """Others have changed what waits since it was read."""


@interruptible
class Spool:
    """
    A spool file, opened by one process; any number of threads may use it.

    Args:
        path: The file; it and its folders are made where they are missing, for this user alone.
        project_id: The project that the events belong to; a spool belongs to one.
        synchronous: "normal" survives the death of the process at any instant, and a power cut but for the last
            moments; "full" has each event on stable storage before `append` returns.
        max_bytes: What file and log together may take on disk, at least 1 MiB.
        on_full: What `append` does where there is no room: "raise", "block" until there is, or "drop_oldest".
        retention: Seconds that sent events are kept; room for new ones comes first.

    Raises:
        SpoolVersionError: The file is of a newer version.
        SpoolMismatchError: The file is no spool, or another project's.
        SpoolError: The path cannot be used. A damaged file is no error: it is set aside, and a notice says where.
    """

    def __init__(
        self,
        path: Path,
        *,
        project_id: str,
        synchronous: str = "normal",
        max_bytes: int = 1 << 30,
        on_full: str = "raise",
        retention: float = 3600.0,
    ) -> None:
        # One name for one file, however it is reached: the log, the lease and other spools of the process go by it.
        check_ownership(path)
        self.path = path = Path(os.path.realpath(path))
        check_ownership(path)
        self._synchronous = synchronous
        limits = Limits(max_bytes)
        self._database = Database(path, project_id, synchronous, limits)
        self._appender = Appender(self._database, limits, on_full)
        self._maintenance = Maintenance(self._database, limits, synchronous, retention)
        self._requeue = Requeue(self._database, limits)
        self._purge = Purge(self._database, limits)
        self._reset_group()

    def _reset_group(self) -> None:
        self._group = GroupCommit(self._appender.commit) if self._synchronous == "full" else None
        self._pid = os.getpid()  # last: another thread that sees it goes on

    # -- appending -----------------------------------------------------------------------------------------------------

    def append(self, payload: bytes) -> int:
        """
        Commit *payload*. When this returns it survives `kill -9`; when it raises, nothing of it is there.

        Returns:
            The number of its row: later ones have higher numbers, and none is used twice.

        Raises:
            SpoolFullError: There is no room for it.
            SpoolBusyError: Another process has held the write lock for too long.
            SpoolError: The disk or the file system refused.
        """
        if self._pid != os.getpid():
            self._database.check_fork()
            self._reset_group()
        database = self._database
        nested = database.held
        try:
            row = self._appender.row(payload)
            if self._group and not nested:  # in the queue it could wait for what it interrupts
                return self._group.append(row)
            return self._appender.append_one(row)
        except BaseException:
            if not nested:
                database.release()
            raise

    # -- batches -------------------------------------------------------------------------------------------------------

    def next_batch(self, max_events: int, max_bytes: int, after: int = 0) -> Batch | None:
        """
        The batch to upload now, the upload counted as begun: the oldest open one, else a new one of waiting events.

        Only the holder of the lease may ask. An open batch comes back as it was, under its request id.

        Args:
            max_events: Most events in a new batch.
            max_bytes: Most bytes of payload in a new batch; a single event may be larger.
            after: Pass over the batches up to this row.
        """
        tries = 0
        while tries < _MAX_ATTEMPTS:
            with self._database.reading() as seen:
                start = queries.batched_through(seen)
                queries.check_newest(seen, self.path)
                rows = [] if queries.first_open(seen, after) else queries.pending(seen, start, max_events, max_bytes)
            try:
                batch, again = change(self._database, partial(self._claim, seen, start, rows, after))
            except _OvertakenError:
                tries += 1
                continue
            if not again:
                return batch
        raise SpoolBusyError(f"spool {self.path}: what waits in it changes again and again. Try again.")

    def _claim(
        self, seen: sqlite3.Connection, start: int, rows: list[queries.StoredRow], after: int, db: sqlite3.Connection
    ) -> tuple[Batch | None, bool]:
        """Return the batch to upload, if any, and whether to look again: the ledger was changed, and there is none."""
        unfinished = queries.first_open(db, after)
        if unfinished:
            batch = transitions.reopen_batch(db, unfinished)
            return batch, batch is None
        if not rows:
            return None, False
        if queries.batched_through(db) != start or self._database.connections().reader is not seen:
            raise _OvertakenError  # another process dropped these to make room, or they were read from a lost log
        sound = queries.intact(rows)
        if sound:
            return transitions.create_batch(db, sound), False
        transitions.reject_damaged(db, rows[0])
        return None, True

    def mark_sent(self, batch: Batch) -> None:
        """Write down that the server took *batch*."""
        change(self._database, lambda db: transitions.mark_sent(db, batch))

    def mark_failed(self, batch: Batch, error: str, *, fault: bool = False) -> None:
        """Write down that an upload of *batch* ended without an outcome; *fault* where the server itself failed."""
        change(self._database, lambda db: transitions.mark_failed(db, batch, error, fault=fault))

    def mark_rejected(self, batch: Batch, reason: str, summary: str) -> None:
        """Keep every event of *batch* apart, with the server's words; *summary* is what `inspect` may show."""
        change(self._database, lambda db: transitions.reject(db, batch, reason, summary))

    def split(self, batch: Batch) -> None:
        """Make two batches of one: it is not to be sent again as it is."""
        change(self._database, lambda db: transitions.split(db, batch))

    def mark_event_sent(self, batch: Batch, index: int) -> None:
        """Write down that the server took the event at *index* of *batch* by itself; the others are yet to be sent."""
        change(self._database, lambda db: transitions.mark_event_sent(db, batch, index))

    # -- explicit acts -------------------------------------------------------------------------------------------------

    def requeue(self, older_than: float = 0.0) -> Requeued:
        """
        Have rejected events wait again: each is appended once more, as it was, behind all others, the oldest first.

        Damaged ones stay rejected. In small steps, each all or nothing: where one raises, call again for the rest.

        Args:
            older_than: Seconds since an event was rejected, at least; 0 for all.

        Raises:
            SpoolFullError: There is no room for more; what is not requeued is still rejected.
            SpoolError: As SQLite says.
        """
        return self._requeue.run(self.select("rejected", older_than))

    def select(self, state: str, older_than: float = 0.0) -> Selection:
        """
        What `purge` would delete now; what comes after is not part of it.

        Args:
            state: "rejected", "pending" or "sent". What is in flight cannot be purged: the server may have it.
            older_than: Seconds since the event was rejected, appended or sent, at least; 0 for all.

        Raises:
            ValueError: There is no such state, or no such age.
        """
        before = cutoff(state, older_than)
        with self._database.reading() as db:
            return selected(db, state, before)

    def purge(self, selection: Selection) -> int:
        """
        Delete events for good; those that were not sent are counted as dropped.

        In small steps, each all or nothing: where one raises, call again for the rest.

        Args:
            selection: What `select` returned.

        Returns:
            How many events were deleted.

        Raises:
            SpoolError: As SQLite says.
        """
        return self._purge.run(selection)

    # -- looking -------------------------------------------------------------------------------------------------------

    def last_seq(self) -> int:
        """The number of the newest row: what is committed by now, by whichever process."""
        with self._database.reading() as db:
            return queries.last_seq(db)

    def unsettled(self, upto: int) -> int:
        """How many events up to row *upto* have no outcome yet."""
        with self._database.reading() as db:
            return queries.unsettled(db, upto)

    def backlog(self) -> Backlog:
        """What waits for a batch."""
        with self._database.reading() as db:
            return backlog(db)

    def totals(self) -> queries.Totals:
        """The spool's counters."""
        with self._database.reading() as db:
            return queries.totals(db)

    def stats(self) -> Stats:
        """The spool at this moment; what it costs does not grow with the number of events."""
        with self._database.reading() as db:
            return stats(db, self.path)

    def check(self) -> list[str]:
        """What is inconsistent: nothing, in a healthy spool. Reads the whole file."""
        with self._database.reading() as db:
            return check(db)

    def notices(self) -> Iterator[Notice]:
        """What has befallen the spool and belongs in a log, each once; the spool itself never logs."""
        while self._database.notices:
            yield self._database.notices.popleft()

    # -- between processes ---------------------------------------------------------------------------------------------

    def request_flush(self, upto: int, until: float | None = None) -> None:
        """
        Ask the process that uploads not to wait with the events up to row *upto*.

        Args:
            upto: The row.
            until: When to give up waiting for another process that writes, by `monotonic`; after some seconds if None.

        Raises:
            SpoolBusyError: Another process has held the write lock until then.
        """
        change(self._database, lambda db: db.execute(sql.NOTE_FLUSH, (upto,)), until)

    def note_lease(self, host: str) -> None:
        """Write down, for `inspect`, that this process uploads now."""
        change(self._database, lambda db: db.execute(sql.TAKE_LEASE, (os.getpid(), host, time.time())))

    def note_lease_given(self, until: float | None = None) -> None:
        """
        Write down that this process uploads no more: if an upload was cut short, it did not die of that.

        Args:
            until: When to give up waiting for another process that writes, as with `request_flush`.
        """
        change(self._database, transitions.end_uploading, until)

    # -- upkeep and the end --------------------------------------------------------------------------------------------

    def maintain(self) -> None:
        """
        What must be done about once a second, on a thread that no caller waits for.

        It sees that the log is in its place, brings it to stable storage, moves it into the file, and gives back the
        space of what has been sent.
        """
        self._maintenance.run()

    @property
    def maintenance_due(self) -> bool:
        """Whether upkeep should come at once: the log has grown long, or more was sent than one run could delete."""
        return self._database.wal_is_long or self._maintenance.is_behind

    def close(self, until: float | None = None) -> None:
        """
        Move the log into the file and close it in this process. Closing twice does no harm.

        Args:
            until: When to give up waiting for another process that writes, by `monotonic`, and leave the log as it is;
                after some seconds if None.
        """
        if self._database.closed:
            return
        self._database.check_fork()
        with suppress(SpoolError):
            until = BusyTimeout(until).until
            self._maintenance.finish(until)
            self._maintenance.truncate_wal(until)
        self._database.close()
