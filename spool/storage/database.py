"""One process's access to a spool: its connections and locks, through forks, lost logs and damage."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ..clock import monotonic
from ..errors import (
    LOCKED_FOR_GOOD,
    SpoolBusyError,
    SpoolClosedError,
    SpoolCorruptError,
    SpoolError,
    WriteLockTakenError,
    is_busy,
    is_lasting,
    own_error,
)
from ..records import Notice
from . import fork
from .connections import Connections
from .holding import Exclusive, Reading, Transaction
from .limits import PAGE_SIZE, Limits
from .locks import give_back, is_held
from .missing import append_missing
from .path_checks import host_share
from .paths import identity
from .preparation import prepare
from .quarantine import is_corrupt, quarantine
from .recovery import check_not_cut, check_unchanged, cut_short, repair_wal, salvage_hint, wal_replaced
from .redo import RedoBuffer
from .reserve import release_if_full
from .sqlite import retry_while_busy, roll_back
from .wal.renewal import renew_wal
from .write_lock import WriteLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RECONNECT_SECONDS = 1.0
"""How long connections are used, at least, although SQLite reports errors of the disk or of its locks."""

_parent_connections: list[Connections] = []
_locked_for_good: set[Path] = set()
"""Spools that a thread of the parent was writing to when C code forked: SQLite's memory of its lock is ours now."""
_reset_lock = threading.RLock()


class WalLostError(Exception):
    """The write-ahead log was deleted or replaced under our connections; `Database.recover` mends it."""


class Database:
    """
    The connections of this process, opened when first needed, and who may use them.

    A mutex excludes the threads of this process: `write_mutex` for the connections that write, `read_mutex` for the one
    that reads. A call may wait for either while a call that it interrupts holds the other, so a caller that needs both
    waits for neither with the other held, see `fork.Pause`. Every write happens under `write_mutex` and the `WriteLock`
    of all processes. No thread waits for another process with `write_mutex` held: the other threads would wait too.

    Attributes:
        notices: What whoever has a log should put there; the spool itself never logs.
        recent: What was acknowledged a moment ago.
        dirty: Whether anything was written since the log was last synced.
        log_is_long: Whether the log has been seen to be so long that upkeep should come at once.
        broken: Whether SQLite has reported an error that may last as long as its connections.
    """

    def __init__(self, path: Path, project_id: str, synchronous: str, limits: Limits) -> None:
        self.path = path
        self.notices: deque[Notice] = deque(maxlen=100)
        self._project_id = project_id
        self._synchronous = synchronous
        self._limits = limits
        self._connections: Connections | None = None
        self._closed = False
        self.broken = False
        self._wal_is_whole = False
        self.reset_after_fork()
        fork.register(self)
        shared = host_share(path)
        if shared:
            self._notice(shared, allowed=True)
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
        """Open the connections if they are not."""
        with self.exclusive():
            pass

    @property
    def opened(self) -> Connections | None:
        """The connections, where they are open."""
        return self._connections

    # -- using the connections -----------------------------------------------------------------------------------------

    def connections(self) -> Connections:
        """Return the connections, opened if they are not; the caller holds the mutex of what it uses."""
        if self._closed:
            raise SpoolClosedError(f"spool {self.path}: it has been closed in this process")
        if self._connections is None:
            with self.translate_errors():
                try:
                    self._connect()
                except (sqlite3.Error, SpoolError, OSError) as error:
                    if not release_if_full(self.path, error) and not self._renewed_after(error):
                        raise
                    self._connect()
        return self._connections  # type: ignore[return-value]

    def _connect(self) -> None:
        prepare(self.path, self._project_id, self._notice_damage)
        lock = WriteLock(self.path)
        with lock.held_if_free():  # the first connection of all may write to the wal-index
            connections = Connections(self.path, self._synchronous, self._limits, lock)
        connections.share.join(self.path, keep_others_out=not self._wal_is_whole)
        self.redo.reappended(append_missing(self.redo.rows(), connections))
        connections.watch.see_wal()
        self._connections = connections

    @property
    def held(self) -> bool:
        """Whether the calling thread holds any of this, and so interrupts a call of its own."""
        return is_held(self.write_mutex) or is_held(self.read_mutex)

    def release(self) -> None:
        """Give back all that the calling thread holds, with nothing left open on it."""
        connections = self._connections
        if is_held(self.read_mutex):
            if connections:
                roll_back(connections.reader)
            give_back(self.read_mutex)
        if is_held(self.write_mutex):
            if connections:
                roll_back(connections.ledger)
                connections.lock.give()
            give_back(self.write_mutex)

    def exclusive(self) -> Exclusive:
        """
        The connections that write, for the calling thread alone, opened if need be.

        Raises:
            SpoolError: As SQLite says.
        """
        return Exclusive(self)

    def reading(self) -> Reading:
        """
        One consistent look at the spool, which waits for no writer.

        Raises:
            SpoolError: As SQLite says; a damaged file has been set aside by then.
        """
        self.check_fork()
        self._recover_if_wal_lost()
        return Reading(self)

    def write(self, act: Callable[[Connections], object], until: float | None = None) -> None:
        """
        Have *act* write, again and again while another process writes; `BusyTimeout` says until when.

        Raises:
            SpoolError: As SQLite says.
        """

        def attempt() -> None:
            with self.exclusive() as connections:
                act(connections)

        retry_while_busy(attempt, until)

    def transaction(self, until: float | None = None) -> Transaction:
        """
        Write to the ledger, all or nothing; `BusyTimeout` says until when another process is waited for.

        Raises:
            SpoolError: As SQLite says; a damaged file has been set aside by then.
            SpoolBusyError: The log was lost meanwhile, and what was written with it.
        """
        self.check_fork()
        self._recover_if_wal_lost()
        return Transaction(self, until)

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Turn what SQLite and the system raise into the spool's own errors."""
        try:
            yield
        except BaseException as error:
            self.raise_own(error)
            raise

    def raise_own(self, error: BaseException) -> None:
        """Raise the spool's own error for what SQLite or the system has raised; nothing happens for another."""
        is_of_sqlite = not isinstance(error.__cause__ or error, WriteLockTakenError)
        if self.path in _locked_for_good and is_busy(error) and is_of_sqlite:
            raise SpoolBusyError(f"spool {self.path}: {LOCKED_FOR_GOOD}") from None  # trying again is no use
        own = own_error(error, str(self.path))
        if own:
            self.broken |= is_lasting(error)
            raise own from error

    def fail(self, error: BaseException) -> None:
        """Do the same once the file, if *error* says that it is damaged, has been set aside."""
        try:
            self.raise_own(error)
            if isinstance(error, SpoolCorruptError):
                raise error
        except SpoolCorruptError:
            self.quarantine_if_corrupt()
            raise

    # -- a log that is no longer the spool's ---------------------------------------------------------------------------

    def verify(self, connections: Connections) -> None:
        """
        See that what was acknowledged went into a log that is still the spool's.

        Raises:
            LogLostError: It is not.
            SpoolCorruptError: The file has been cut short.
        """
        if connections.lost:
            raise WalLostError
        check_unchanged(self.path, connections)
        check_not_cut(self.path, connections)
        connections.bound_file()
        self.redo.verified()

    def _recover_if_wal_lost(self) -> None:
        connections = self._connections  # a fork may take it away at any moment
        if connections:
            check_unchanged(self.path, connections)
            if connections.lost or self.reconnect_due():
                self.recover()

    def reconnect_due(self) -> bool:
        """Whether SQLite has reported an error that may last as long as its connections, and none was made lately."""
        return self.broken and monotonic() - self._recovered_at > RECONNECT_SECONDS

    def recover(self) -> None:
        """Make new connections, in the whole process at once: SQLite shares the wal-index between connections."""
        self._recovered_at = monotonic()
        connections = self._connections
        replaced, index_was_cut = connections is not None and connections.watch.replaced, False
        with self.write_mutex, self.translate_errors():
            if connections:
                index_was_cut = connections.watch.restore_index()
                connections.rescue_wal()
        if replaced:
            self.notices.append(wal_replaced(self.path))

        def renew() -> None:
            if connections and not replaced:
                self._renew(connections.page_size, connections.watch.header, index_was_cut=index_was_cut)

        self._closed_everywhere(renew)

    def _closed_everywhere(self, act: Callable[[], None]) -> None:
        """Close every connection of this process to the spool, and *act* before one is opened again."""
        pause = fork.Pause.of(fork.sharing(self.path) or [self])
        try:
            with pause:
                act()
        finally:
            pause.end()  # an exception may come between the two

    def _renew(self, page_size: int, header: bytes, *, index_was_cut: bool) -> None:
        with self.translate_errors(), closing(WriteLock(self.path)) as lock, lock.held_if_free():
            missing, aside = renew_wal(self.path, page_size, header, index_was_cut=index_was_cut)
        if missing:
            self.notices.append(cut_short(self.path, aside, self._project_id))
        self.broken = False

    def _renewed_after(self, error: BaseException) -> bool:
        """Whether *error* may come from a WAL that was cut short, which no other spool of this process has open."""
        if not is_lasting(error, error.__cause__) or any(spool.opened for spool in fork.sharing(self.path)):
            return False
        self._renew(PAGE_SIZE, b"", index_was_cut=False)
        return True

    # -- a damaged file ------------------------------------------------------------------------------------------------

    def quarantine_if_corrupt(self, *, sure: bool = False) -> None:
        """
        Set the damaged file aside; the next use begins a new one.

        Unless *sure*, a second look with new connections must find it damaged too: a log that was lost under the old
        ones reads like damage.
        """
        connections = self._connections
        found = connections.watch.file if connections else identity(self.path)
        cut = connections if connections and connections.lost and not connections.watch.replaced else None

        def replace() -> None:
            if cut:  # what is missing reads like damage, too
                self._renew(cut.page_size, cut.watch.header, index_was_cut=cut.watch.restore_index())
            aside = (
                quarantine(self.path, found) if (connections and sure and not cut) or is_corrupt(self.path) else None
            )
            if aside:
                self._notice_damage(aside)

        self._closed_everywhere(replace)

    def _notice(self, text: str, *, allowed: bool = False) -> None:
        self.notices.append(Notice(text, allowed=allowed))

    def _notice_damage(self, aside: Path) -> None:
        self._notice(
            f"spool {self.path} was damaged; it was set aside, whole, as {aside}, and a new one was begun. "
            + salvage_hint(aside)
        )

    def _repair_wal(self) -> None:
        with self.exclusive() as connections:
            damaged = repair_wal(self.path, connections, self._project_id, self.notices.append)
        if damaged:
            self.quarantine_if_corrupt(sure=True)

    # -- closing and forks ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close every connection for good."""
        self.suspend()
        self._closed = True
        self.resume()

    @property
    def closed(self) -> bool:
        """Whether the spool has been closed in this process."""
        return self._closed

    @property
    def locks(self) -> tuple[threading.RLock, ...]:
        """What a thread holds while it opens or uses a connection."""
        return self.write_mutex, self.read_mutex

    def let_go(self) -> None:
        """Close every connection; the caller holds the locks."""
        connections = self._connections
        if connections:
            if not connections.lost and not self.broken:
                self.redo.forget()  # or what has been sent and deleted by now would be appended again
            self._connections = None
            connections.close()

    def suspend(self) -> None:
        """Take every lock and close every connection."""
        self._pause = fork.Pause.of([self])
        self._pause.begin()

    def resume(self) -> None:
        """Give every lock back."""
        self._pause.end()
        del self._pause

    def check_fork(self) -> None:
        """Begin anew where C code has forked without Python's hooks."""
        if self._pid != os.getpid():
            with _reset_lock:
                if self._pid != os.getpid():
                    self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Fresh locks and nothing open, as in a new process."""
        if self._connections:
            # These connections are the parent's: never used, closed or collected here.
            _parent_connections.append(self._connections)
            if self._connections.lock.owner is not None:  # only if C code has forked: before other forks all is closed
                _locked_for_good.add(self.path)
            self._connections.lock.close()  # or its locks would outlive the parent
            self._connections.share.close()
        self._connections = None
        self.read_mutex = threading.RLock()
        self.write_mutex = threading.RLock()
        self.redo = RedoBuffer()
        self.dirty = False
        self.wal_is_long = False
        self.broken = False
        self._recovered_at = 0.0
        self._pid = os.getpid()  # last: another thread that sees it goes on
