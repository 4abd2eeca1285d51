"""
What can go wrong with a spool.

* AlignAIError
    * SpoolError
        * SpoolFullError
        * SpoolBusyError
        * SpoolCorruptError
        * SpoolVersionError
        * SpoolMismatchError
        * SpoolClosedError

Every message ends with what to do about it. An append that raises any of these has spooled nothing.
"""

from __future__ import annotations

import errno
import sqlite3

from .interruption import is_refusal


class AlignAIError(Exception):
    """Whatever the SDK raises by itself; catch it to catch all of them."""

    # `alignai.exception` is where users find it. It is defined here because this package imports nothing of the SDK,
    # and `except` catches by real base classes only.


class SpoolError(AlignAIError):
    """The spool could not do what was asked; the message says why and what to do."""


class SpoolFullError(SpoolError):
    """There is no room: the disk is full, or the spool has reached its limit."""


class SpoolBusyError(SpoolError):
    """Another connection held the spool's write lock for longer than anyone should."""


class SpoolCorruptError(SpoolError):
    """SQLite calls the file damaged."""


class SpoolVersionError(SpoolError):
    """The file was written by a newer version of this package; it is left untouched."""


class SpoolMismatchError(SpoolError):
    """The file is not a spool, or it belongs to another project."""


class SpoolClosedError(SpoolError):
    """The spool has been closed in this process."""


_MODES = "check the modes of the file and its folder"
_OR_MOVE = "or name another path by spool_path or ALIGNAI_SPOOL_PATH"
_HINTS: dict[int, tuple[type[SpoolError], str]] = {
    sqlite3.SQLITE_BUSY: (SpoolBusyError, "another process holds its write lock: see who has it open, then try again"),
    sqlite3.SQLITE_LOCKED: (SpoolBusyError, "another call holds its write lock: try again"),
    sqlite3.SQLITE_FULL: (
        SpoolFullError,
        f"the volume is full: free space on it, {_OR_MOVE}. It is not max_spool_bytes that is reached",
    ),
    sqlite3.SQLITE_CORRUPT: (SpoolCorruptError, "it is damaged: keep the file, what can be read can be saved"),
    # Only damage makes the ledger contradict itself.
    sqlite3.SQLITE_CONSTRAINT: (
        SpoolCorruptError,
        "it contradicts itself: keep the file",
    ),
    sqlite3.SQLITE_NOTADB: (SpoolCorruptError, "it is not a database, or its head is damaged: keep the file"),
    sqlite3.SQLITE_READONLY: (
        SpoolError,
        f"it cannot be written: {_MODES}, {_OR_MOVE}",
    ),
    sqlite3.SQLITE_PERM: (SpoolError, f"access is denied: {_MODES}, {_OR_MOVE}"),
    sqlite3.SQLITE_CANTOPEN: (
        SpoolError,
        f"it cannot be opened: see that its folder can be written, {_OR_MOVE}",
    ),
    sqlite3.SQLITE_IOERR: (SpoolError, "the disk reports an error: check the volume and its free space"),
}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_VOLUME_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
_OTHERWISE = (SpoolError, "this is not expected: please report it")

_NOT_SHARED = (
    "this file system does not give processes the locks and the shared memory that SQLite needs: name another path by "
    "spool_path or ALIGNAI_SPOOL_PATH, on a local disk"
)
_STUCK = f"its locks do not work, or a process was stopped while it opened the spool: see who has it open, {_OR_MOVE}"
_HINTS[sqlite3.SQLITE_PROTOCOL] = (SpoolError, _STUCK)
_HINTS_BY_NAME = dict.fromkeys(
    ("SQLITE_IOERR_SHM", "SQLITE_IOERR_LOCK", "SQLITE_IOERR_RDLOCK", "SQLITE_IOERR_UNLOCK", "SQLITE_IOERR_CHECKRES"),
    _NOT_SHARED,
)
"""What the more exact codes of SQLite say, by the beginnings of their names."""

READONLY_ROLLBACK = 776
"""SQLite's SQLITE_READONLY_ROLLBACK. A Python that was built with an old SQLite has no name for it."""


def is_busy(error: BaseException | None) -> bool:
    """Whether *error*, or what it was raised from, says that a lock is taken, so that the call may be tried again."""
    if isinstance(error, SpoolBusyError):
        error = error.__cause__
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


LOCKED_FOR_GOOD = (
    "this process was forked by C code while another thread of its parent wrote to the spool, so that SQLite takes its "
    "write lock for held in here for good. Fork by os.fork, or when no thread records, or start another program in it."
)


class WriteLockTakenError(sqlite3.OperationalError):
    """Another process of this package is writing: what SQLite raises in that case, for a lock that is not SQLite's."""

    def __init__(self) -> None:
        super().__init__("database is locked")
        self.sqlite_errorcode, self.sqlite_errorname = sqlite3.SQLITE_BUSY, "SQLITE_BUSY"


def is_volume_full(error: BaseException) -> bool:
    """
    Return whether *error*, or what it was raised from, may say that the volume is full, or a quota is used up.

    SQLite says so of a quota, and of the wal-index, by codes that may have other causes.
    """
    cause = error.__cause__ if isinstance(error, SpoolError) else error
    if isinstance(cause, OSError):
        return cause.errno in _NO_ROOM
    return getattr(cause, "sqlite_errorcode", 0) in _VOLUME_FULL


def from_sqlite_error(error: sqlite3.Error, path: str) -> SpoolError:
    """The spool's own error for what SQLite or its Python module raised."""
    code = getattr(error, "sqlite_errorcode", 0)
    kind, hint = _HINTS.get(code & 0xFF, _OTHERWISE)
    name = getattr(error, "sqlite_errorname", None)
    if name is None:  # raised by Python's module itself
        return kind(f"spool {path}: {error} - {hint}")
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # there is no room for the wal-index
        kind, hint = _HINTS[sqlite3.SQLITE_FULL]
        return kind(f"spool {path}: {error} ({name}) - {hint}")
    hint = next((each for begin, each in _HINTS_BY_NAME.items() if name.startswith(begin)), hint)
    return kind(f"spool {path}: {error} ({name}) - {hint}")


INVALID_VALUE_ERRORS = (TypeError, ValueError, OverflowError)
"""What our own code raises over a value that it never wrote there: no checksum covers the ledger."""


def invalid_value(path: str) -> SpoolCorruptError:
    """The spool's own error for that."""
    return SpoolCorruptError(f"spool {path}: it holds values that were never written there - keep the file")


def from_os_error(error: OSError, path: str) -> SpoolError:
    """The spool's own error for what the operating system refused."""
    kind = SpoolFullError if error.errno in _NO_ROOM else SpoolError
    return kind(f"spool {path}: {error.strerror or error} - check the path, its modes and the free space, {_OR_MOVE}")


_LASTING = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN}


def is_lasting(*errors: BaseException | None) -> bool:
    """Whether one of *errors* is SQLite's and may come as long as its connections are open, and no longer."""
    return any(getattr(error, "sqlite_errorcode", 0) & 0xFF in _LASTING for error in errors)


def is_of_cut_log(error: sqlite3.Error) -> bool:
    """Whether *error* comes of a log that lacks what its index says; the file lacks no page, or it would be damaged."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHORT_READ


def own_error(error: BaseException, path: str) -> SpoolError | None:
    """
    The spool's own error for what SQLite, the system or our code raised over the file; None for any other.

    Signal handlers raise TimeoutError or ValueError, too. What our own code raises comes out of this package.
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
