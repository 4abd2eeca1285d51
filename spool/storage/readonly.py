"""Opening a spool only to look: nothing is made, nothing is changed, and no worker is held up."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import SpoolCorruptError, SpoolError, SpoolMismatchError, from_os_error, from_sqlite_error
from ..interruption import is_refusal
from . import fork
from .format import verify
from .path_checks import check_one_name
from .quarantine import is_headless
from .sqlite import connect, retry_while_busy, wal_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def open_readonly(path: Path) -> Iterator[sqlite3.Connection]:
    """
    One consistent look at the spool at *path*.

    Raises:
        SpoolError: There is none, it is not to be read, or it is not one of ours.
    """
    try:
        there = path.is_file()
    except OSError as error:
        if not is_refusal(error):
            raise
        raise from_os_error(error, str(path)) from error
    if not there:
        raise SpoolError(f"spool {path}: there is no such file - name the spool, or set ALIGNAI_SPOOL_PATH")
    check_one_name(path)
    if is_headless(path):
        raise SpoolCorruptError(
            f"spool {path}: the file is empty, and its write-ahead log is not. Keep both; a worker sets them aside."
        )
    try:
        with fork.HeldOff(), closing(_connect(path)) as connection:
            connection.execute("BEGIN")
            if not retry_while_busy(lambda: verify(connection, path)):
                raise SpoolMismatchError(f"spool {path}: the file is empty - no worker has made it a spool yet")
            yield connection
    except sqlite3.Error as error:
        raise from_sqlite_error(error, str(path)) from error


def _connect(path: Path) -> sqlite3.Connection:
    if wal_of(path).exists():
        return connect(path, read_only=True)
    # Without a log the file is all there is, and SQLite would make a log, even to read.
    return sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1", uri=True, isolation_level=None)
