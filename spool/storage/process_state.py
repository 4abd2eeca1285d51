"""The connections of one process to a spool, the locks around them, and their reset after a fork."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..clock import monotonic
from ..errors import LOCKED_FOR_GOOD, SpoolBusyError, WriteLockTakenError, is_busy, is_lasting, own_error
from . import fork
from .locks import give_back, is_held
from .redo import RedoBuffer
from .sqlite import roll_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..records import Notice
    from .connections import Connections

RECONNECT_SECONDS = 1.0
"""How long connections are used, at least, even if SQLite reports errors of the disk or of its locks."""

_parent_connections: list[Connections] = []
_locked_for_good: set[Path] = set()
"""Spools that a thread of the parent was writing to when C code forked. SQLite in this process believes in its lock."""
_reset_lock = threading.RLock()


class ProcessState:
    """
    The connections of this process, if they are open, and who may use them.

    A mutex excludes the threads of this process: `write_mutex` for the connections that write, `read_mutex` for the one
    that reads. A call may wait for either while a call that it interrupts holds the other. So a caller that needs both
    never waits for one while it holds the other, see `fork.Pause`.

    Attributes:
        notices: Events that the caller should log. The spool itself never logs.
        opened: The connections, if they are open. Only `Database` and this class set it.
        generation: How many connections were made. While it is the same, so are they.
        redo: The rows that were written a moment ago.
        wal_is_long: Whether the WAL is so long that maintenance should run at once. Only `WalLimit` sets it.
        broken: Whether SQLite has reported an error that may last as long as its connections.
    """

    def __init__(self, path: Path, project_id: str) -> None:
        self.path = path
        self.project_id = project_id
        self.notices: deque[Notice] = deque(maxlen=100)
        self.opened: Connections | None = None
        self.generation = 0
        self._closed = False
        self.broken = False
        self.reset_after_fork()
        fork.register(self)

    @property
    def held(self) -> bool:
        """Whether the calling thread holds a mutex, and so interrupts a call of its own."""
        return is_held(self.write_mutex) or is_held(self.read_mutex)

    def release(self) -> None:
        """Roll back and release all that the calling thread holds."""
        connections = self.opened
        if is_held(self.read_mutex):
            if connections:
                roll_back(connections.reader)
            give_back(self.read_mutex)
        if is_held(self.write_mutex):
            if connections:
                roll_back(connections.ledger)
                connections.lock.give()
            give_back(self.write_mutex)

    # -- errors --------------------------------------------------------------------------------------------------------

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Turn what SQLite and the system raise into the spool's own errors."""
        try:
            yield
        except BaseException as error:
            self.raise_own(error)
            raise

    def raise_own(self, error: BaseException) -> None:
        """Raise the spool's own error for an error of SQLite or the system. Nothing happens for any other error."""
        is_of_sqlite = not isinstance(error.__cause__ or error, WriteLockTakenError)
        if self.path in _locked_for_good and is_busy(error) and is_of_sqlite:
            raise SpoolBusyError(f"spool {self.path}: {LOCKED_FOR_GOOD}") from None  # trying again is no use
        own = own_error(error, str(self.path))
        if own:
            self.note_error(error)
            raise own from error

    def note_error(self, *errors: BaseException | None) -> None:
        """Remember whether one of *errors* may last as long as the connections."""
        self.broken = self.broken or is_lasting(*errors)

    def reconnect_due(self) -> bool:
        """Return whether an error may last as long as the connections, which are not new."""
        return self.broken and monotonic() - self._recovered_at > RECONNECT_SECONDS

    def note_reconnecting(self) -> None:
        """Remember that new connections are about to be made."""
        self._recovered_at = monotonic()

    # -- closing and forks ---------------------------------------------------------------------------------------------

    def closed_everywhere(self, act: Callable[[], None]) -> None:
        """Close every connection of this process to the spool, and call *act* before one is opened again."""
        pause = fork.Pause.of(fork.sharing(self.path) or [self])
        try:
            with pause:
                act()
        finally:
            pause.end()  # an exception may come between the two

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
        """The locks that a thread holds while it opens or uses a connection."""
        return self.write_mutex, self.read_mutex

    def let_go(self) -> None:
        """Close every connection. The caller holds the locks."""
        connections = self.opened
        if connections:
            if not connections.lost and not self.broken:
                self.redo.forget()  # otherwise rows that have been sent and deleted by now would be appended again
            self.opened = None
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
        """Reset if C code has forked without Python's hooks."""
        if self._pid != os.getpid():
            with _reset_lock:
                if self._pid != os.getpid():
                    self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Have new locks and no connections, as in a new process."""
        if self.opened:
            # These connections are the parent's: never used, closed or collected here.
            _parent_connections.append(self.opened)
            if self.opened.lock.owner is not None:  # only if C code has forked: before other forks all is closed
                _locked_for_good.add(self.path)
            self.opened.lock.close()  # or its locks would outlive the parent
            self.opened.share.close()
        self.opened = None
        self.read_mutex = threading.RLock()
        self.write_mutex = threading.RLock()
        self.redo = RedoBuffer()
        self.wal_is_long = False
        self.broken = False
        self._recovered_at = 0.0
        self._pid = os.getpid()  # last: another thread that sees it goes on
