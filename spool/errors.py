"""
The errors of a spool.

* AlignAIError
    * SpoolError
        * SpoolFullError
        * SpoolBusyError
        * SpoolCorruptError
        * SpoolVersionError
        * SpoolMismatchError
        * SpoolClosedError

Every message ends with what to do. An append that raises one of these has recorded nothing.
"""

from __future__ import annotations

import errno
import sqlite3

from .interruption import is_refusal


class AlignAIError(Exception):
    """The base of all errors that the SDK raises."""

    # Users import it from `alignai.exception`. It is defined here because this package imports nothing of the SDK, and
    # `except` catches by real base classes only.


class SpoolError(AlignAIError):
    """The spool could not do what was asked. The message says why and what to do."""


class SpoolFullError(SpoolError):
    """There is no room: the volume is full, or the spool has reached its limit."""


class SpoolBusyError(SpoolError):
    """Another process or call held the write lock of the spool for too long."""


class SpoolCorruptError(SpoolError):
    """The file is corrupt."""


class SpoolVersionError(SpoolError):
    """The file was written by a newer version of this package. It is left untouched."""


class SpoolMismatchError(SpoolError):
    """The file is not a spool, or it belongs to another project."""


class SpoolClosedError(SpoolError):
    """The spool has been closed in this process."""


KEEP_FILE = "Keep the file: python -m alignai.spool salvage can recover its readable events."
_CHECK_MODES = "Check the permissions of the file and its folder"
_OR_MOVE = "or name another path with spool_path or ALIGNAI_SPOOL_PATH."
_HINTS: dict[int, tuple[type[SpoolError], str]] = {
    sqlite3.SQLITE_BUSY: (
        SpoolBusyError,
        "another process holds its write lock. See which process has the file open, then try again.",
    ),
    sqlite3.SQLITE_LOCKED: (SpoolBusyError, "another call holds its write lock. Try again."),
    sqlite3.SQLITE_FULL: (
        SpoolFullError,
        f"the volume is full (not max_spool_bytes). Free space on it, {_OR_MOVE}",
    ),
    sqlite3.SQLITE_CORRUPT: (SpoolCorruptError, f"the file is corrupt. {KEEP_FILE}"),
    # Only damage makes the ledger contradict itself.
    sqlite3.SQLITE_CONSTRAINT: (SpoolCorruptError, f"the file is corrupt: it contradicts itself. {KEEP_FILE}"),
    sqlite3.SQLITE_NOTADB: (SpoolCorruptError, f"the file is not a database, or its header is damaged. {KEEP_FILE}"),
    sqlite3.SQLITE_READONLY: (SpoolError, f"it cannot be written. {_CHECK_MODES}, {_OR_MOVE}"),
    sqlite3.SQLITE_PERM: (SpoolError, f"access is denied. {_CHECK_MODES}, {_OR_MOVE}"),
    sqlite3.SQLITE_CANTOPEN: (SpoolError, f"it cannot be opened. Make its folder writable, {_OR_MOVE}"),
    sqlite3.SQLITE_IOERR: (SpoolError, "the disk reports an error. Check the volume and its free space."),
}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_VOLUME_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
_DEFAULT = (SpoolError, "this error is not expected. Please report it.")

_NOT_SHARED = (
    "this file system lacks the locks or the shared memory that SQLite needs. Name a path on a local disk with "
    "spool_path or ALIGNAI_SPOOL_PATH."
)
_STUCK = (
    "its locks do not work, or a process was stopped while it opened the spool. See which process has the file open, "
    f"{_OR_MOVE}"
)
_HINTS[sqlite3.SQLITE_PROTOCOL] = (SpoolError, _STUCK)
_HINTS_BY_NAME = dict.fromkeys(
    ("SQLITE_IOERR_SHM", "SQLITE_IOERR_LOCK", "SQLITE_IOERR_RDLOCK", "SQLITE_IOERR_UNLOCK", "SQLITE_IOERR_CHECKRES"),
    _NOT_SHARED,
)
"""Hints for the extended result codes of SQLite, by the beginnings of their names."""

READONLY_ROLLBACK = 776
"""SQLite's SQLITE_READONLY_ROLLBACK. Python has no name for it if it was built with an old SQLite."""


def is_busy(error: BaseException | None) -> bool:
    """Return whether *error* or its cause says that a lock is taken, so that the call may be tried again."""
    if isinstance(error, SpoolBusyError):
        error = error.__cause__
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


LOCKED_FOR_GOOD = (
    "this process was forked by C code while another thread of its parent wrote to the spool. So SQLite takes its "
    "write lock for held in this process for good. Fork with os.fork, or when no thread records, or start another "
    "program in the child."
)


class WriteLockTakenError(sqlite3.OperationalError):
    """Another process holds the write lock of this package. The error looks like that of SQLite for its own lock."""

    def __init__(self) -> None:
        super().__init__("database is locked")
        self.sqlite_errorcode, self.sqlite_errorname = sqlite3.SQLITE_BUSY, "SQLITE_BUSY"


def is_volume_full(error: BaseException) -> bool:
    """
    Return whether *error* or its cause may mean that the volume is full or a quota is used up.

    SQLite reports a used-up quota, and a full volume under the wal-index, by codes that may have other causes.
    """
    cause = error.__cause__ if isinstance(error, SpoolError) else error
    if isinstance(cause, OSError):
        return cause.errno in _NO_ROOM
    return getattr(cause, "sqlite_errorcode", 0) in _VOLUME_FULL


def from_sqlite_error(error: sqlite3.Error, path: str) -> SpoolError:
    """Return the spool's error for an error of SQLite or of Python's module."""
    code = getattr(error, "sqlite_errorcode", 0)
    kind, hint = _HINTS.get(code & 0xFF, _DEFAULT)
    name = getattr(error, "sqlite_errorname", None)
    if name is None:  # raised by Python's module
        return kind(f"spool {path}: {error} - {hint}")
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # there is no room for the wal-index
        kind, hint = _HINTS[sqlite3.SQLITE_FULL]
        return kind(f"spool {path}: {error} ({name}) - {hint}")
    hint = next((each for begin, each in _HINTS_BY_NAME.items() if name.startswith(begin)), hint)
    return kind(f"spool {path}: {error} ({name}) - {hint}")


INVALID_VALUE_ERRORS = (TypeError, ValueError, OverflowError)
"""What the code of this package raises for an invalid value in the ledger, which no checksum covers."""


def invalid_value(path: str) -> SpoolCorruptError:
    """Return the spool's error for an invalid value in the tables."""
    return SpoolCorruptError(f"spool {path}: the file is corrupt: its tables contain invalid values. {KEEP_FILE}")


def from_os_error(error: OSError, path: str) -> SpoolError:
    """Return the spool's error for an error of the operating system."""
    kind = SpoolFullError if error.errno in _NO_ROOM else SpoolError
    return kind(
        f"spool {path}: {error.strerror or error}. Check the path, its permissions and the free space, {_OR_MOVE}"
    )


_LASTING = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN}


def is_lasting(*errors: BaseException | None) -> bool:
    """Return whether one of *errors* is of SQLite and may repeat until its connections are closed."""
    return any(getattr(error, "sqlite_errorcode", 0) & 0xFF in _LASTING for error in errors)


def is_of_cut_wal(error: sqlite3.Error) -> bool:
    """Return whether *error* means that the WAL is shorter than its wal-index says. For the file it would be damage."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHORT_READ


def own_error(error: BaseException, path: str) -> SpoolError | None:
    """
    Return the spool's error for an error that SQLite, the system or this package raised; None for any other.

    Signal handlers raise TimeoutError or ValueError, too. So a ValueError must have been raised in this package.
    """
    if isinstance(error, sqlite3.Error):
        return from_sqlite_error(error, path)
    if isinstance(error, OSError) and is_refusal(error):
        return from_os_error(error, path)
    if isinstance(error, INVALID_VALUE_ERRORS) and _raised_here(error):
        return invalid_value(path)
    return None


def _raised_here(error: BaseException) -> bool:
    last = error.__traceback__
    while last and last.tb_next:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_filename.startswith(_HERE)


_HERE = __file__.removesuffix("errors.py")
