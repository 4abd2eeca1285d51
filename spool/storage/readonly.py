"""Opening a spool only to look: nothing is made, nothing is changed, and no worker is held up."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ..errors import SpoolCorruptError, SpoolError, SpoolMismatchError, from_os_error, from_sqlite_error
from ..interruption import is_refusal
from . import fork
from .format import verify
from .path_checks import check_one_name
from .paths import is_headless, wal_of
from .sqlite import connect, retry_while_busy, uri_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def open_readonly(path: Path | str) -> Iterator[sqlite3.Connection]:
    """
    Open the spool at *path* for one consistent look.

    Raises:
        SpoolError: There is no such file, it cannot be read, or it is not a spool.
    """
    if not _is_file(path):
        raise SpoolError(f"spool {path}: there is no such file. Name the spool, or set ALIGNAI_SPOOL_PATH.")
    check_one_name(path)
    if is_headless(path):
        raise SpoolCorruptError(
            f"spool {path}: the file is empty, and its write-ahead log is not. Keep both. A worker quarantines them."
        )
    try:
        with fork.HeldOff(), closing(_connect(path)) as connection:
            connection.execute("BEGIN")
            if not retry_while_busy(lambda: verify(connection, path)):
                raise SpoolMismatchError(f"spool {path}: the file is empty. No worker has made it a spool yet.")
            yield connection
    except sqlite3.Error as error:
        raise from_sqlite_error(error, str(path)) from error


def _is_file(path: Path | str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - see paths.py
    except OSError as error:
        if not is_refusal(error):
            raise
        if error.errno in _MISSING:
            return False
        raise from_os_error(error, str(path)) from error


_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def _connect(path: Path | str) -> sqlite3.Connection:
    if os.path.exists(wal_of(path)):  # noqa: PTH110 - see paths.py
        return connect(path, read_only=True)
    # Without a WAL the file is all there is, and SQLite would make a WAL, even to read.
    return sqlite3.connect(uri_of(path, "ro&immutable=1"), uri=True, isolation_level=None)
