"""One process's access to a spool: its connections and locks, through forks, lost logs and damage."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from ..errors import SpoolClosedError, SpoolCorruptError, SpoolError
from ..records import Notice
from . import recovery
from .connections import Connections
from .file_checks import check_not_cut, check_unchanged
from .holding import Exclusive, Reading, Transaction
from .missing import append_missing
from .path_checks import host_share
from .preparation import prepare
from .process_state import ProcessState
from .recovery import WalLostError
from .reports import quarantined
from .reserve import release_if_full
from .sqlite import retry_while_busy
from .wal_repair import repair_wal
from .write_lock import WriteLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .limits import Limits


class Database(ProcessState):
    """
    The connections of this process, opened when first needed.

    Every write happens under `write_mutex` and the `WriteLock` of all processes. No thread waits for another process
    with `write_mutex` held: the other threads would wait too.
    """

    def __init__(self, path: Path, project_id: str, synchronous: str, limits: Limits) -> None:
        self._synchronous = synchronous
        self._limits = limits
        self._wal_is_whole = False
        super().__init__(path, project_id)
        shared = host_share(path)
        if shared:
            self.notices.append(Notice(shared, allowed=True))
        try:
            self.open()
            self._repair_wal()
        except SpoolCorruptError:
            self.quarantine_if_corrupt()
            self.open()
        self._wal_is_whole = True
        with self.exclusive() as connections:
            connections.share.let_others_in()

    def open(self) -> None:
        """Open the connections if they are not open."""
        with self.exclusive():
            pass

    # -- using the connections -----------------------------------------------------------------------------------------

    def connections(self) -> Connections:
        """Return the connections, and open them if they are not open. The caller holds the mutex of the one it uses."""
        if self._closed:
            raise SpoolClosedError(f"spool {self.path}: it has been closed in this process")
        if self.opened is None:
            with self.translate_errors():
                try:
                    self._connect()
                except (sqlite3.Error, SpoolError, OSError) as error:
                    if not release_if_full(self.path, error) and not recovery.renewed_after(self, error):
                        raise
                    self._connect()
        return self.opened  # type: ignore[return-value]

    def _connect(self) -> None:
        prepare(self.path, self.project_id, lambda aside: self.notices.append(quarantined(self.path, aside)))
        lock = WriteLock(self.path)
        with lock.held_if_free():  # the first connection of all processes may write to the wal-index
            connections = Connections(self.path, self._synchronous, self._limits, lock)
        connections.share.join(self.path, keep_others_out=not self._wal_is_whole)
        self.redo.reappended(append_missing(self.redo.rows(), connections))
        connections.watch.see_wal()
        self.generation += 1
        self.opened = connections

    def exclusive(self) -> Exclusive:
        """
        Return the connections that write, for the calling thread alone. They are opened if necessary.

        Raises:
            SpoolError: SQLite reports an error.
        """
        return Exclusive(self)

    def reading(self) -> Reading:
        """
        Return one consistent look at the spool, which waits for no writer.

        Raises:
            SpoolError: SQLite reports an error. A corrupt file has been quarantined by then.
        """
        self.check_fork()
        self._recover_if_wal_lost()
        return Reading(self)

    def write(self, act: Callable[[Connections], object], until: float | None = None) -> None:
        """
        Call *act*, which writes, again and again while another process writes. `BusyTimeout` explains *until*.

        Raises:
            SpoolError: SQLite reports an error.
        """

        def attempt() -> None:
            with self.exclusive() as connections:
                act(connections)

        retry_while_busy(attempt, until)

    def transaction(self, until: float | None = None) -> Transaction:
        """
        Write to the ledger, all or nothing. `BusyTimeout` explains *until*: when to give up on another process.

        Raises:
            SpoolError: SQLite reports an error. A corrupt file has been quarantined by then.
            SpoolBusyError: The WAL was lost meanwhile, and the change with it.
        """
        self.check_fork()
        self._recover_if_wal_lost()
        return Transaction(self, until)

    # -- errors --------------------------------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """Do as `raise_own`. If *error* says that the file is corrupt, quarantine it first."""
        try:
            self.raise_own(error)
            if isinstance(error, SpoolCorruptError):
                raise error
        except SpoolCorruptError:
            self.quarantine_if_corrupt()
            raise

    # -- a WAL that is no longer the spool's ---------------------------------------------------------------------------

    def verify(self, connections: Connections) -> None:
        """
        Check that acknowledged rows went into a WAL that is still the spool's.

        Raises:
            WalLostError: It is not.
            SpoolCorruptError: The file has been cut short.
        """
        if connections.lost:
            raise WalLostError
        check_unchanged(self.path, connections)
        check_not_cut(self.path, connections)
        connections.bound_file()
        self.redo.verified(connections.unverified_bytes)

    def _recover_if_wal_lost(self) -> None:
        connections = self.opened  # a fork may take it away at any moment
        if connections:
            check_unchanged(self.path, connections)
            if connections.lost or self.reconnect_due():
                self.recover()

    def recover(self) -> None:
        """Close all connections of this process, and save what can be saved of a lost WAL. See `recovery.recover`."""
        recovery.recover(self)

    def quarantine_if_corrupt(self, *, sure: bool = False) -> None:
        """Quarantine a corrupt file, unless a second look, which *sure* omits, finds it sound."""
        recovery.quarantine_if_corrupt(self, sure=sure)

    def _repair_wal(self) -> None:
        with self.exclusive() as connections:
            damaged = repair_wal(self.path, connections, self.project_id, self.notices.append)
        if damaged:
            self.quarantine_if_corrupt(sure=True)
