"""The spool: a durable queue in one SQLite file, shared by all processes of a machine. Bytes in, batches out."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .appender import Appender
from .errors import SpoolError
from .group_commit import GroupCommit
from .ledger import queries
from .ledger.integrity import check
from .ledger.selection import cutoff, selected
from .maintenance import Maintenance
from .purge import Purge
from .requeue import Requeue
from .stats import backlog, stats
from .storage.database import Database
from .storage.files import check_ownership
from .storage.holding import interruptible
from .storage.limits import Limits
from .storage.sqlite import BusyTimeout
from .uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .ledger.rows import Totals
    from .records import Backlog, Notice, Requeued, Selection, Stats


@interruptible
class Spool(Uploads):
    """
    A spool file, opened by one process; any number of threads may use it.

    Args:
        path: The file. If it or its folders are missing, they are created for this user alone.
        project_id: The project that the events belong to. A spool belongs to one.
        synchronous: "normal" keeps every event if the process dies at any instant. After a power cut, events of the
            last moments may be missing. "full" has each event on stable storage before `append` returns.
        max_bytes: Bytes that file and WAL together may take on disk, at least 1 MiB.
        on_full: The reaction of `append` if there is no room: "raise", "block" until there is, or "drop_oldest".
        retention: Seconds that sent events are kept. Room for new ones comes first.

    Raises:
        SpoolVersionError: The file is of a newer version.
        SpoolMismatchError: The file is no spool, or another project's.
        SpoolError: The path cannot be used. A corrupt file is no error: it is quarantined, and a notice names it.
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
        # One file has one name, by whichever path it is reached. The WAL, the lease and other spools depend on it.
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
        Commit *payload*. If this returns, the payload survives `kill -9`. If it raises, nothing of it is stored.

        Returns:
            The number of its row. Later rows have higher numbers, and no number is used twice.

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

    # -- explicit acts -------------------------------------------------------------------------------------------------

    def requeue(self, older_than: float = 0.0) -> Requeued:
        """
        Append each rejected event once more, as it was, behind all others, the oldest first.

        Damaged ones stay rejected. This takes many small transactions. If one raises, call again for the rest.

        Args:
            older_than: The least number of seconds since an event was rejected. 0 selects all.

        Raises:
            SpoolFullError: There is no room for more. Events that were not requeued are still rejected.
            SpoolError: SQLite reports an error.
        """
        return self._requeue.run(self.select("rejected", older_than))

    def select(self, state: str, older_than: float = 0.0) -> Selection:
        """
        Return the events that `purge` would delete now. Events that come later are not part of it.

        Args:
            state: "rejected", "pending" or "sent". Events in flight cannot be purged: the server may have them.
            older_than: The least number of seconds since an event was rejected, appended or sent. 0 selects all.

        Raises:
            ValueError: There is no such state, or no such age.
        """
        before = cutoff(state, older_than)
        with self._database.reading() as db:
            return selected(db, state, before)

    def purge(self, selection: Selection) -> int:
        """
        Delete events for good. Those that were not sent are counted as dropped.

        This takes many small transactions. If one raises, call again for the rest.

        Args:
            selection: The events, from `select`.

        Returns:
            How many events were deleted.

        Raises:
            SpoolError: SQLite reports an error.
        """
        return self._purge.run(selection)

    # -- looking -------------------------------------------------------------------------------------------------------

    def last_seq(self) -> int:
        """Return the number of the newest row that any process has committed."""
        with self._database.reading() as db:
            return queries.last_seq(db)

    def unsettled(self, upto: int) -> int:
        """Return how many events up to row *upto* have no outcome yet."""
        with self._database.reading() as db:
            return queries.unsettled(db, upto)

    def backlog(self) -> Backlog:
        """Return how much is pending, and since when."""
        with self._database.reading() as db:
            return backlog(db)

    def totals(self) -> Totals:
        """Return the counters of the spool."""
        with self._database.reading() as db:
            return queries.totals(db)

    def stats(self) -> Stats:
        """Return the figures of this moment. The time that takes does not grow with the number of events."""
        with self._database.reading() as db:
            return stats(db, self.path)

    def check(self) -> list[str]:
        """Return what is inconsistent: an empty list for a healthy spool. Reads the whole file."""
        with self._database.reading() as db:
            return check(db)

    def notices(self) -> Iterator[Notice]:
        """Yield each notice once. The caller logs them, since the spool itself never logs."""
        while self._database.notices:
            yield self._database.notices.popleft()

    # -- maintenance and the end ---------------------------------------------------------------------------------------

    def maintain(self) -> None:
        """
        Do what must be done about once a second, on a thread that no caller waits for.

        This checks that the WAL is in its place, syncs it, moves it into the file, deletes events that were sent long
        enough ago, and gives their space back.
        """
        self._maintenance.run()

    @property
    def maintenance_due(self) -> bool:
        """Whether `maintain` should run at once: the WAL is long, or the last run left sent events to delete."""
        return self._database.wal_is_long or self._maintenance.is_behind

    def close(self, until: float | None = None) -> None:
        """
        Move the WAL into the file and close it in this process. Closing twice does no harm.

        Args:
            until: When to give up waiting for another process that writes, by `monotonic`, and leave the WAL as it is.
                If None, after some seconds.
        """
        if self._database.closed:
            return
        self._database.check_fork()
        with suppress(SpoolError):
            until = BusyTimeout(until).until
            self._maintenance.finish(until)
            self._maintenance.truncate_wal(until)
        self._database.close()
