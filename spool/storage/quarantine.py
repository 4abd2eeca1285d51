"""Quarantine of a corrupt spool: after a second look it is renamed, so that a new one can be created."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..errors import INVALID_VALUE_ERRORS, SpoolCorruptError, from_os_error, own_error
from ..interruption import is_refusal
from ..ledger.integrity import missing
from .files import folder_lock, sync_folder
from .paths import MIN_PAGE_SIZE, identity, journal_of, shm_of, size_of, wal_of
from .sqlite import connect, retry_while_busy

if TYPE_CHECKING:
    from pathlib import Path


def is_corrupt(path: Path) -> bool:
    """Return whether SQLite, reading the whole file again, finds it corrupt, or rows have vanished from it."""
    if size_of(path) < MIN_PAGE_SIZE:
        return True  # this is only called if there were rows; SQLite would delete the WAL of an empty file
    try:
        with closing(connect(path, read_only=True)) as connection:
            (verdict,) = retry_while_busy(lambda: connection.execute("PRAGMA quick_check(1)").fetchone())
            connection.execute("BEGIN")
            return bool(verdict != "ok" or missing(connection))
    except (sqlite3.Error, *INVALID_VALUE_ERRORS) as error:
        own = own_error(error, str(path))
        if own is None:
            raise  # a signal handler's ValueError says nothing of the file
        return isinstance(own, SpoolCorruptError)


def quarantine_path(path: Path) -> Path:
    """Return a new name for a corrupt file, which no file has had before."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return path.with_name(f"{path.name}.corrupt-{moment}-{os.getpid()}")


def quarantine(path: Path, found: tuple[int, int] | None) -> Path | None:
    """
    Rename a corrupt spool and its WAL, so that a new one can be created. Only the wal-index is deleted.

    Returns:
        Its new name, or None if the file at *path* is no longer the one *found*, because another process was first.

    Raises:
        SpoolError: It cannot be renamed.
    """
    aside = quarantine_path(path)
    try:
        with folder_lock(path.parent):
            if identity(path) != found:
                return None
            shm_of(path).unlink(missing_ok=True)
            for beside in (wal_of, journal_of):  # before the file: SQLite would take it for a new one's
                if beside(path).exists():
                    beside(path).rename(beside(aside))
            path.rename(aside)
            sync_folder(path.parent)
    except OSError as error:
        if not is_refusal(error):
            raise
        raise from_os_error(error, str(path)) from error
    return aside
