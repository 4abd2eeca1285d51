"""Access to the file of a spool from outside, through SQLite alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def ask(path: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run *statement* on a connection of its own and return its rows."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        return connection.execute(statement, values).fetchall()


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """Begin a transaction on a connection of its own, and commit it at the end of the block."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def checkpoint(path: Path) -> None:
    """Move the WAL into the file, as another program may do while the spool is in use."""
    ask(path, "PRAGMA wal_checkpoint(PASSIVE)")


def payloads(path: Path) -> list[bytes]:
    """Return every stored event in order."""
    return [payload for (payload,) in ask(path, "SELECT payload FROM events ORDER BY seq")]


def wal(path: Path) -> Path:
    """Return the path of the WAL."""
    return path.with_name(path.name + "-wal")


def shm(path: Path) -> Path:
    """Return the path of the wal-index."""
    return path.with_name(path.name + "-shm")


def quarantined(path: Path) -> list[Path]:
    """Return the quarantined files of a spool, without their WALs."""
    return sorted(each for each in path.parent.glob("*.corrupt-*") if not each.name.endswith("-wal"))


def on_disk(path: Path) -> int:
    """Return the bytes of the file, its WAL and the wal-index."""
    return sum(each.stat().st_size for each in (path, wal(path), shm(path)) if each.exists())
