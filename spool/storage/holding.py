"""
How a call holds the connections of a spool: alone, in a transaction, or to read.

An exception may come out of any line: a signal handler raises, the stack is full, another thread throws one in. It may
also come between a lock and the `with` block that would release it. So the lock itself is
asked whether it is held, the outermost call of a thread releases all that the thread holds, and each call that takes a
connection rolls back a transaction that was left open on it.
"""

from __future__ import annotations

from functools import wraps
from inspect import isfunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import SpoolBusyError
from .locks import Hold
from .sqlite import check_not_nested, retry_while_busy, roll_back

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from .alone import Alone
    from .connections import Connections
    from .database import Database

T = TypeVar("T")

_MAX_ATTEMPTS = 1000


def interruptible(cls: type[T]) -> type[T]:
    """Have every public method of *cls* leave nothing behind, whatever exception ends it."""
    for name, method in list(vars(cls).items()):
        if isfunction(method) and name[0] != "_" and name != "append" and not isgeneratorfunction(method):
            setattr(cls, name, _interruptible(method))
    return cls


def _interruptible(method: Callable[..., object]) -> Callable[..., object]:
    @wraps(method)
    def call(self: Any, *args: object, **kwargs: object) -> object:
        database: Database = self._database  # `Spool.append` does the same by itself, which saves a call
        database.check_fork()
        nested = database.held
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            if not nested:
                database.release()
            raise

    return call


class Exclusive:
    """The connections that write, for the calling thread alone. See `Database.exclusive`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing = Hold(database.write_mutex)
        self._connections: Connections | None = None

    def __enter__(self) -> Connections:
        try:
            self._writing.take()
            self._connections = connections = self._database.connections()
            if not self._writing.nested:
                roll_back(connections.ledger)
        except BaseException as error:
            self.release()
            self._database.raise_own(error)
            raise
        return connections

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.release()
        if error is not None:
            self._database.raise_own(error)

    def release(self) -> None:
        """Let others have the connections, on which nothing is left open."""
        if self._connections and not self._writing.nested:
            roll_back(self._connections.ledger)
            self._connections.lock.give()
        self._writing.release()


class Transaction:
    """A change of the ledger, all or nothing. See `Database.transaction`."""

    def __init__(self, database: Database, until: float | None) -> None:
        self._database = database
        self._until = until
        self._exclusive = Exclusive(database)
        self._connections: Connections | None = None
        self._alone: Alone | None = None

    def __enter__(self) -> sqlite3.Connection:
        try:
            return retry_while_busy(self._begin, self._until)
        except BaseException as error:
            self._end(error)
            raise

    def _begin(self) -> sqlite3.Connection:
        """Begin, or leave the connections to the other threads until the next attempt."""
        connections = self._exclusive.__enter__()
        try:
            check_not_nested(connections.ledger, self._database.path)
            self._connections, self._alone = (
                connections,
                connections.alone(),
            )  # from here on there is a transaction to end
            return self._alone.__enter__()
        except BaseException:
            self._release()
            raise

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None and self._connections:
                self._database.redo.mark_dirty()
                self._connections.ledger.execute("COMMIT")
                self._database.redo.expire()  # the WAL may have grown by any amount
        except BaseException as failure:
            self._end(failure)
            raise
        self._end(error)
        if error is None and self._connections:
            self._connections.lock.give_way()
        if error is None and self._connections and self._connections.lost:
            # Otherwise a batch would be uploaded whose request id is stored nowhere.
            self._database.recover()
            raise SpoolBusyError(
                f"spool {self._database.path}: its write-ahead log was deleted during a write. Try again."
            )

    def _release(self) -> None:
        if self._alone:
            self._alone.end()
        self._exclusive.release()

    def _end(self, error: BaseException | None) -> None:
        self._release()
        if error is not None:
            self._database.fail(error)


class Reading:
    """One consistent look at the spool. See `Database.reading`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = Hold(database.read_mutex)
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> sqlite3.Connection:
        try:
            db = self._connection()
            if not self._reader.nested:
                roll_back(db)  # otherwise this look would see the spool as it was long ago
            if not db.in_transaction:  # one look serves both a call and what interrupts it
                self._db = db  # from here on there is a transaction to end
                db.execute("BEGIN")
        except BaseException as error:
            self._end(error)
            raise
        return db

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._end(error)

    def _connection(self) -> sqlite3.Connection:
        for _ in range(_MAX_ATTEMPTS):
            if self._database.opened is None:
                self._database.open()  # without `read_mutex` held
            self._reader.take()
            connections = self._database.opened
            if connections is not None:
                return connections.reader
            self._reader.release()
        raise SpoolBusyError(f"spool {self._database.path}: its connections are closed as soon as opened. Try again.")

    def _end(self, error: BaseException | None) -> None:
        if self._db:
            roll_back(self._db)
        self._reader.release()
        if error is not None:
            self._database.fail(error)
