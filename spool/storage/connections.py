"""The connections that one process has on a spool, and the WAL that they write to."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from ..errors import SpoolBusyError, is_busy, is_volume_full
from ..interruption import AllowingRefusal, is_refusal
from ..ledger import sql
from .alone import Alone
from .files import sync_wal
from .limits import VACUUM_BYTES, VACUUM_BYTES_OF_FULL_VOLUME, page_size, vacuum
from .paths import shm_of, size_of, wal_of
from .reserve import MIN_RESERVE, Reserve
from .sqlite import connect, retry_while_busy
from .wal.renewal import put_back_wal
from .wal.share import WalShare
from .watch import Watch

if TYPE_CHECKING:
    from pathlib import Path

    from .limits import Limits
    from .write_lock import WriteLock


class Connections:
    """
    Three connections: one appends, one keeps the ledger, one reads.

    Each write holds the write lock. No method that writes waits for another process. `Database.write` and
    `Database.transaction` try again, and let other threads in meanwhile.

    The reader has a second duty. SQLite's last connection to close moves the WAL into the file and deletes it, even
    under another process whose locks were lost, whose later commits then go into a file without a name. While a
    read-only connection of the same process is open, closing the others deletes nothing; and it cannot do so itself.

    Attributes:
        reserve: The file that keeps room for the time when the volume is full.
        volume_full: Whether the last attempt to keep that room failed.
    """

    _pid = 0

    def __init__(self, path: Path, synchronous: str, limits: Limits, lock: WriteLock) -> None:
        self.lock = lock
        self.share = WalShare()
        self._opened: list[sqlite3.Connection] = []
        self._pid = os.getpid()  # before this, interrupted by a signal, there is nothing to close
        self._path = path
        self._wal = wal_of(path)
        self._synced: tuple[int, int] | None = None
        self._limits = limits
        self.reserve = Reserve(path, limits.reserve_bytes)
        self.volume_full = False
        self._max_pages = 0
        try:
            self.reader = self._open(path, synchronous, read_only=True)
            self.append = self._open(path, synchronous)
            self.ledger = self._open(path, synchronous)
            self.page_size = page_size(self.reader)
            self.bound_file()
            for writer in (self.append, self.ledger):
                writer.execute(f"PRAGMA journal_size_limit = {limits.wal_checkpoint_bytes}")
            self.watch = Watch(path)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path, synchronous: str, *, read_only: bool = False) -> sqlite3.Connection:
        connection = connect(path, synchronous=synchronous, read_only=read_only)
        self._opened.append(connection)
        # Only the first look at the file takes the shared lock and opens the WAL.
        retry_while_busy(lambda: connection.execute("SELECT count(*) FROM sqlite_schema").fetchone())
        return connection

    def bound_file(self) -> None:
        """Limit the size of the file. While the volume is full, the limit is the present size."""
        self.volume_full = not self.reserve.keep()
        pages = 1 if self.volume_full else self._limits.max_pages(self.page_size)  # never less than there are
        if self.volume_full or pages != self._max_pages:
            retry_while_busy(lambda: self.append.execute(f"PRAGMA max_page_count = {pages}"))
            self._max_pages = pages

    @property
    def unverified_bytes(self) -> int:
        """Bytes that the WAL may grow by between two looks: few if the reserve for its checkpoint is small."""
        return min(self._limits.unverified_bytes, self._kept // 4)

    @property
    def step_bytes(self) -> int:
        """Bytes of events that may be moved or deleted at once: the WAL grows by that, and must fit in the reserve."""
        return self._kept // 2

    def must_shorten(self, growth: int) -> bool:
        """Return whether the WAL, grown by *growth*, is too long or might find no room for its checkpoint."""
        size = self.wal_bytes + growth
        return size > self._limits.wal_soft_limit or self.is_beyond_reserve(size)

    def is_beyond_reserve(self, size: int) -> bool:
        """Return whether a checkpoint of *size* bytes may find no room, neither in the reserve nor on the volume."""
        return size > self._kept // 2 and not self.reserve.volume_has(2 * size)

    @property
    def _kept(self) -> int:
        if self.volume_full:
            return MIN_RESERVE  # there is no reserve, but the file does not grow
        return self.reserve.size or self._limits.reserve_bytes

    @property
    def lost(self) -> bool:
        """Whether the files that these connections write to are no longer the spool's, or were cut short."""
        return self.watch.lost

    @property
    def wal_bytes(self) -> int:
        """Bytes of the WAL."""
        return size_of(self._wal)

    @property
    def unsynced(self) -> bool:
        """Whether any process, even one that is dead by now, has written to the WAL since this one has synced it."""
        return self._wal_state() != self._synced

    def sync_wal(self) -> None:
        """Put the WAL on stable storage. If it is gone, the next look reports that."""
        state = self._wal_state()
        with AllowingRefusal(FileNotFoundError):
            sync_wal(self._wal)
        self._synced = state

    def _wal_state(self) -> tuple[int, int]:
        """Return values that change when the WAL is written to."""
        try:
            found = self._wal.stat()
        except OSError as error:
            if not is_refusal(error):
                raise
            return 0, 0
        return found.st_size, found.st_mtime_ns

    def checkpoint(self) -> None:
        """
        Move the WAL into the file as far as no reader needs it, while no one can commit.

        SQLite up to 3.51.2 can lose commits that race a checkpoint, so the ledger's connection holds the write lock
        meanwhile. PASSIVE is the one mode that does not ask for the lock that is held here.
        """
        with self.alone():
            # Otherwise other processes may have gone on with other files, or the file would get the zeros of a gap.
            if not self.lost and self.watch.see_wal(all_of_it=True) and not self.watch.file_shrank:
                try:
                    self.checkpoint_passively()
                except sqlite3.Error as error:
                    if not is_volume_full(error):
                        raise
                    self.reserve.release()  # no append comes between: the write lock is held
                    self.checkpoint_passively()
                self.watch.accept_file_size()

    def use_reserve(self) -> None:
        """Let the ledger go on although the volume is full: the WAL is restarted, in the room that was kept."""
        self.reserve.release()
        self.checkpoint()

    def checkpoint_passively(self) -> int:
        """Move the WAL into the file while the write lock is held; return how many frames SQLite sees in it."""
        ((_, frames, _),) = self.append.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return int(frames)

    def alone(self) -> Alone:
        """
        Begin a transaction of the ledger, in which no one else can write; it is undone unless it was committed.

        Raises:
            sqlite3.OperationalError: Another process is writing.
            SpoolBusyError: This call interrupts another transaction of the same thread.
        """
        return Alone(self, self._path)

    def rescue_wal(self) -> None:
        """
        Give a WAL that has been deleted its name again: these connections have it open, and no others can see it.

        A checkpoint would not do, because it leaves out each page that is newer than the snapshot of a reader. The
        wal-index belongs to the deleted WAL and is deleted. Other processes that still have this WAL open detect that.
        If the wal-index or the WAL has been replaced, another process has already recovered.

        Raises:
            sqlite3.OperationalError: Another process is writing. If no process rescues the WAL, all of it is lost.
        """
        try:
            if self.watch.wal_deleted:
                with self.alone():
                    if self.watch.wal_deleted:  # no other process has been faster
                        self._put_back_wal()
        except (sqlite3.DatabaseError, OSError, SpoolBusyError) as error:
            if is_busy(error) or (isinstance(error, OSError) and not is_refusal(error)):
                raise

    def _put_back_wal(self) -> None:
        try:
            put_back_wal(self._path, self.share.descriptor, self.watch.wal_file)
        except OSError as error:
            if not is_refusal(error):
                raise
            self.reserve.release()
            self.checkpoint_passively()  # the best that is left
        shm_of(self._path).unlink()

    def restart_wal(self) -> None:
        """
        Have the WAL restarted after a checkpoint, and cut to its limit: only a commit does that.

        Nothing happens if a reader still needs the WAL.
        """
        with self.lock.held():
            self.ledger.execute(sql.COMMIT_NOTHING)

    def truncate_wal(self) -> None:
        """As `restart_wal`, and keep nothing of its length."""
        self.ledger.execute("PRAGMA journal_size_limit = 0")
        self.restart_wal()

    def vacuum(self) -> None:
        """Give a few free pages back to the file system."""
        with self.lock.held():
            vacuum(self.ledger, VACUUM_BYTES_OF_FULL_VOLUME if self.volume_full else VACUUM_BYTES)

    def __del__(self) -> None:
        """Close in order, or SQLite might delete the WAL. After a fork, these are the parent's connections."""
        if self._pid == os.getpid():
            self.close()

    def close(self) -> None:
        """Close all connections, the reader last."""
        for connection in reversed(self._opened):
            connection.close()
        self.share.close()
        self.lock.close()
