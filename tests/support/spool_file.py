"""A look at a spool from outside, through SQLite and nothing of ours."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def ask(path: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run *statement* on a connection of its own."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        return connection.execute(statement, values).fetchall()


def payloads(path: Path) -> list[bytes]:
    """Every event that is stored, in order."""
    return [payload for (payload,) in ask(path, "SELECT payload FROM events ORDER BY seq")]


def wal(path: Path) -> Path:
    """The write-ahead log."""
    return path.with_name(path.name + "-wal")


def shm(path: Path) -> Path:
    """The index of the write-ahead log."""
    return path.with_name(path.name + "-shm")


def on_disk(path: Path) -> int:
    """Bytes of the file, its log and the log's index."""
    return sum(each.stat().st_size for each in (path, wal(path), shm(path)) if each.exists())
