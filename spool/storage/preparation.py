"""See to it that a file is a spool: create it, bring it to this version, or quarantine it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from ..errors import (
    INVALID_VALUE_ERRORS,
    READONLY_ROLLBACK,
    SpoolBusyError,
    SpoolCorruptError,
    SpoolError,
    own_error,
)
from ..ledger import queries, sql
from . import format as spool_format
from .files import create_private
from .format import verify, verify_project
from .limits import PAGE_SIZE, page_size
from .path_checks import check_not_network, check_one_name, check_path_length
from .paths import identity, is_headless, size_of, wal_of
from .quarantine import quarantine
from .sqlite import connect, page_size_in_file, retry_while_busy
from .wal.rescue import check_wal_readable, frames_beyond_damage
from .write_lock import WriteLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOKS = 2
_MAX_ATTEMPTS = 20


def prepare(path: Path, project_id: str, tell: Callable[[Path], object] = lambda _: None) -> None:
    """
    See to it that *path* is a spool of this version for *project_id*.

    What is damaged is set aside, after a second look: SQLite calls a disk damaged that fails to read for a moment.

    Args:
        path: The file, which is created if it is missing.
        project_id: The project.
        tell: Told where a damaged file was set aside, at once: what comes after may fail.

    Raises:
        SpoolVersionError: The file is of a newer version.
        SpoolMismatchError: The file is no spool, or another project's.
        SpoolError: The path cannot be used.
    """
    check_path_length(path)
    check_not_network(path)
    looks = 0
    for _ in range(_MAX_ATTEMPTS):
        create_private(path)
        check_one_name(path)
        found = identity(path)
        headless = is_headless(path)
        try:
            if not headless:
                with closing(WriteLock(path)) as lock:
                    _bring_up(path, project_id, lock)
                return
        except SpoolCorruptError:
            looks += 1
            if looks > _LOOKS:
                raise  # the new one too: it is the disk that is damaged
        except SpoolError:
            if identity(path) == found:
                raise
            continue  # another process has set it aside meanwhile
        if headless or looks == _LOOKS:
            aside = quarantine(path, found)
            if aside:
                tell(aside)
    raise SpoolBusyError(f"spool {path}: it is replaced again and again. Find the program that does that (lsof).")


def _bring_up(path: Path, project_id: str, lock: WriteLock) -> None:
    try:
        for _ in range(_MAX_ATTEMPTS):
            if _is_spool(path, project_id, lock):
                return
            retry_while_busy(lambda: _roll_back(path, lock))
        raise SpoolBusyError(f"spool {path}: it is left half made again and again. Try again.")
    except (sqlite3.Error, *INVALID_VALUE_ERRORS) as error:
        own = own_error(error, str(path))
        if own is None:
            raise
        raise own from error


def _is_spool(path: Path, project_id: str, lock: WriteLock) -> bool:
    """Make the file a spool if it is none yet. Return False if a process has died in the middle of that."""
    try:
        if size_of(wal_of(path)):
            check_wal_readable(path, page_size_in_file(path))
        with lock.held_if_free(), closing(connect(path, read_only=True)) as connection:
            connection.execute("BEGIN")  # one look: another process may be making it a spool at this moment
            version = retry_while_busy(lambda: verify(connection, path))
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            if version == spool_format.VERSION and mode == "wal":  # a copy by `VACUUM INTO` is in another mode
                verify_project(connection, path, project_id)
                queries.check_newest(connection, path)
                return True
        retry_while_busy(lambda: _migrate(path, project_id, lock))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != READONLY_ROLLBACK:
            raise
        return False
    return True


def _roll_back(path: Path, lock: WriteLock) -> None:
    """Undo an interrupted switch of the file to WAL mode, which a read-only connection may not."""
    with lock.held(), closing(connect(path)) as writer:
        retry_while_busy(lambda: writer.execute("SELECT count(*) FROM sqlite_schema").fetchone())


def _migrate(path: Path, project_id: str, lock: WriteLock) -> None:
    with lock.held(), ExitStack() as stack:
        # The reader keeps SQLite from deleting the WAL when the writer closes, as it does wherever the spool is open.
        reader = stack.enter_context(closing(connect(path, read_only=True)))
        writer = stack.enter_context(closing(connect(path, synchronous="full")))
        if size_of(wal_of(path)):
            _check_wal_not_lost(writer, path)
        # Before the first table, or they silently have no effect. SQLite may have been built with another page size.
        writer.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        retry_while_busy(lambda: writer.execute("PRAGMA auto_vacuum = INCREMENTAL"))
        (mode,) = retry_while_busy(lambda: writer.execute("PRAGMA journal_mode = WAL").fetchone())
        if mode != "wal":
            raise SpoolError(
                f"spool {path}: this file system refuses SQLite's write-ahead log (journal mode {mode!r}) "
                "- set spool_path or ALIGNAI_SPOOL_PATH to a local disk"
            )
        retry_while_busy(lambda: reader.execute("SELECT count(*) FROM sqlite_schema").fetchone())
        retry_while_busy(lambda: writer.execute("BEGIN IMMEDIATE"))
        try:
            version = verify(writer, path)
            for script in spool_format.MIGRATIONS[version:]:
                for statement in _statements(script):
                    writer.execute(statement)
            if not version:
                writer.execute("INSERT INTO spool (project_id, created_at) VALUES (?, ?)", (project_id, time.time()))
            writer.execute(f"PRAGMA application_id = {sql.APPLICATION_ID}")
            writer.execute(f"PRAGMA user_version = {spool_format.VERSION}")
            verify_project(writer, path, project_id)
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:  # some errors end it by themselves
                writer.execute("ROLLBACK")
            raise


def _check_wal_not_lost(writer: sqlite3.Connection, path: Path) -> None:
    """
    Refuse to begin a new spool if there was one: all of a young spool is in its WAL, and SQLite may not see that.

    The first commit makes the spool, and is on stable storage before there is a second. Where it is alone, a power cut
    has come before that, and nothing has ever been appended.
    """
    retry_while_busy(lambda: writer.execute("BEGIN IMMEDIATE"))
    try:
        if (
            not verify(writer, path)
            and sum(1 for frame in frames_beyond_damage(path, page_size(writer)) if frame.pages) > 1
        ):
            raise SpoolCorruptError(f"spool {path}: the beginning of its write-ahead log is damaged. Keep it.")
    finally:
        writer.execute("ROLLBACK")


def _statements(script: str) -> list[str]:
    """Return the statements of *script* one by one: `executescript` would commit between them."""
    statements, begun = [], ""
    for part in script.split(";"):
        begun += part + ";"
        if sqlite3.complete_statement(begun):
            statements.append(begun.strip().rstrip(";"))
            begun = ""
    return [statement for statement in statements if statement]
