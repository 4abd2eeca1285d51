"""Whether the files of a spool are still what they were when its connections were opened."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import SpoolCorruptError, SpoolError
from .limits import PENDING_BYTE
from .path_checks import linked
from .paths import size_of
from .sqlite import check_adapters
from .wal.rescue import pages_in_wal

if TYPE_CHECKING:
    from pathlib import Path

    from .connections import Connections


def check_not_cut(path: Path, connections: Connections) -> None:
    """
    Check that no page is missing, if the file has become shorter. Another process that writes defers the check.

    Raises:
        SpoolCorruptError: It was cut short: pages are neither in the file nor in the WAL.
    """
    if not connections.watch.file_shrank or connections.ledger.in_transaction:
        return
    with suppress(sqlite3.OperationalError), connections.alone():  # another process is writing: next time
        if is_cut(path, connections):
            raise SpoolCorruptError(f"spool {path}: it was cut short. Keep the file and its write-ahead log.")
        connections.watch.accept_file_size()


def is_cut(path: Path, connections: Connections) -> bool:
    """Return whether pages are neither in the file nor in the WAL. The caller holds the write lock."""
    (pages,) = connections.ledger.execute("PRAGMA page_count").fetchone()
    in_file = size_of(path) // connections.page_size
    if in_file >= pages:
        return False
    lock_page = PENDING_BYTE // connections.page_size + 1
    return not set(range(in_file + 1, pages + 1)) - {lock_page} <= pages_in_wal(path, connections.page_size)


def check_unchanged(path: Path, connections: Connections) -> None:
    """
    Check that no program has done to the spool or to sqlite3 what makes further use unsafe.

    Raises:
        SpoolError: The file has got a second name, or sqlite3 an adapter.
    """
    if connections.watch.has_second_name:
        raise SpoolError(linked(path))
    check_adapters(path)
