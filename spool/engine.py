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

    def totals(self) -> Totals:
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
