"""Opening the file of a spool, and waiting for other processes that have locked it."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

from ..clock import monotonic
from ..errors import SpoolBusyError, SpoolError, is_busy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeVar

    T = TypeVar("T")

BUSY_TIMEOUT_SECONDS = 10.0
"""Seconds to wait for the write lock. A process gives it back within milliseconds, unless it is frozen."""

_SHORTEST_WAIT = 50e-6
_LONGEST_WAIT = 2e-3

REENTRANT_CALL = (
    "this call interrupts the spool's own work on the same thread (a signal handler or a finaliser), and cannot wait "
    "for it. Call again from elsewhere."
)

PRAGMAS = (
    # We wait ourselves, in finer steps: SQLite's own handler sleeps up to 100 ms at a time.
    "PRAGMA busy_timeout = 0",
    # SQLite up to 3.51.2 can lose commits that race a checkpoint: only maintenance checkpoints, holding the write lock.
    "PRAGMA wal_autocheckpoint = 0",
    # A mapped file widens the same race.
    "PRAGMA mmap_size = 0",
    # On macOS, fsync alone does not reach the medium. Elsewhere these do nothing.
    "PRAGMA fullfsync = 1",
    "PRAGMA checkpoint_fullfsync = 1",
    # A page that is damaged is told at once, and no function is run because a file says so.
    "PRAGMA cell_size_check = 1",
    "PRAGMA trusted_schema = 0",
)


def connect(path: Path | str, *, synchronous: str = "normal", read_only: bool = False) -> sqlite3.Connection:
    """
    Open the file, which must exist, and set every pragma that a spool needs.

    Raises:
        sqlite3.Error: As SQLite says.
    """
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(uri_of(path, mode), uri=True, isolation_level=None, check_same_thread=False)
    # A byte of the server's words that was flipped must not keep everything else from being read.
    connection.text_factory = _as_text
    try:
        check_adapters(path)
        for pragma in (*PRAGMAS, f"PRAGMA synchronous = {synchronous}"):
            # Some look at the file, and the first connection after a crash locks it to read its WAL.
            retry_while_busy(partial(connection.execute, pragma))
    except BaseException:
        connection.close()
        raise
    return connection


def uri_of(path: Path | str, mode: str) -> str:
    """Return the URI by which SQLite opens the file in *mode*."""
    # As `urllib.parse.quote` does it, which takes too long to import.
    quoted = re.sub(rb"[^A-Za-z0-9_.~/-]", lambda found: b"%%%02X" % found[0][0], os.fsencode(path))
    return f"file:{quoted.decode()}?mode={mode}"


_BOUND_TYPES = (str, bytes, float, int)
"""The types of every value that is handed to SQLite."""


def check_adapters(path: Path | str) -> None:
    """
    Refuse to go on in a program that has SQLite store something else than is handed to it.

    Raises:
        SpoolError: An adapter is registered for one of the types that SQLite itself knows.
    """
    adapters = sqlite3.adapters
    for kind in _BOUND_TYPES:
        if (kind, sqlite3.PrepareProtocol) in adapters:
            raise SpoolError(
                f"spool {path}: this program has called sqlite3.register_adapter({kind.__name__}, ...), which changes "
                "what every SQLite database in it stores. Register the adapter for a class of its own instead."
            )


def page_size_in_file(path: Path) -> int | None:
    """
    Return the page size that the file itself names, whatever its WAL says, and None if it has no sound header.

    Only SQLite may open the file: closing any other descriptor of it would drop SQLite's locks.
    """
    try:
        with closing(sqlite3.connect(uri_of(path, "ro&immutable=1"), uri=True)) as connection:
            connection.execute("PRAGMA user_version").fetchone()  # reads the header
            return int(connection.execute("PRAGMA page_size").fetchone()[0])
    except sqlite3.Error:
        return None


def _as_text(stored: bytes) -> str:
    return stored.decode(errors="replace")


class BusyTimeout:
    """
    The wait of one call for other processes, from one attempt to the next.

    Attributes:
        until: The moment of the last attempt, by the monotonic clock.
    """

    def __init__(self, until: float | None = None) -> None:
        """Wait for `BUSY_TIMEOUT_SECONDS`, but no longer than until the moment *until*, by the monotonic clock."""
        longest = monotonic() + BUSY_TIMEOUT_SECONDS
        self.until = longest if until is None else min(until, longest)
        self._longest = _SHORTEST_WAIT

    def wait(self) -> bool:
        """Wait a moment and return True. If the time is used up, return False at once."""
        left = self.until - monotonic()
        if left <= 0:
            return False
        jitter = os.urandom(1)[0] / 255  # the module `random` takes too long to import
        time.sleep(min(left, _SHORTEST_WAIT / 2 + jitter * (self._longest - _SHORTEST_WAIT / 2)))
        self._longest = min(self._longest * 2, _LONGEST_WAIT)
        return True


def retry_while_busy(statement: Callable[[], T], until: float | None = None) -> T:
    """
    Run *statement*, again and again while it finds the spool locked. `BusyTimeout` explains *until*.

    Raises:
        Exception: What the statement raised, or the last refusal once the patience is used up.
    """
    patience: BusyTimeout | None = None
    while True:
        try:
            return statement()
        except (sqlite3.OperationalError, SpoolBusyError) as error:
            patience = patience or BusyTimeout(until)
            if not is_busy(error) or not patience.wait():
                raise


def check_not_nested(db: sqlite3.Connection, path: Path) -> None:
    """
    Refuse to begin a transaction inside another one.

    Raises:
        SpoolBusyError: One is open: the calling thread's, since no other may use *db* now.
    """
    if db.in_transaction:
        raise SpoolBusyError(f"spool {path}: {REENTRANT_CALL}")


def roll_back(db: sqlite3.Connection) -> None:
    """End the transaction that is open on *db*, if any. A connection that was closed meanwhile has none."""
    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute("ROLLBACK")


def has_wal_reset_bug(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> bool:
    """
    Whether this SQLite has the WAL-reset bug (https://sqlite.org/wal.html#walresetbug).

    It is in 3.7.0 to 3.51.2 but for the repaired 3.44.6 and 3.50.7. The spool is safe from it either way.
    """
    repaired = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    return version >= (3, 7, 0) and not repaired
