"""
The files of a spool: their paths, and what `stat` says of them.

Nothing here opens a file: closing any descriptor of the spool's file or its wal-index would drop SQLite's locks. A path
is a `str` or a `Path`: `inspect` reads a spool without pathlib, which takes longer to import than the spool to read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..interruption import AllowingRefusal, is_refusal

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeVar

    P = TypeVar("P", bound=Path | str)

MIN_PAGE_SIZE = 512
"""Bytes of the smallest page that SQLite knows. A file that is smaller ends within its header."""


def wal_of(path: P) -> P:
    """Return the path of the write-ahead log beside the file."""
    return _beside(path, "-wal")


def shm_of(path: P) -> P:
    """Return the path of the wal-index beside the file."""
    return _beside(path, "-shm")


def journal_of(path: P) -> P:
    """Return the path of the rollback journal, which is there only while the file is switched to WAL."""
    return _beside(path, "-journal")


def lease_of(path: P) -> P:
    """Return the path of the file that the process that uploads has locked."""
    return _beside(path, ".lease")


def lock_of(path: P) -> P:
    """Return the path of the file that every write locks."""
    return _beside(path, ".lock")


def reserve_of(path: P) -> P:
    """Return the path of the reserve: bytes that are kept for a full volume."""
    return _beside(path, ".reserve")


def _beside(path: P, suffix: str) -> P:
    return type(path)(f"{path}{suffix}")


def size_of(path: Path | str) -> int:
    """Return the bytes of the file, 0 if there is none."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a `str` will do
    except OSError as error:
        if not is_refusal(error):
            raise
        return 0


def identity(path: Path | str | int | None) -> tuple[int, int] | None:
    """Return the identity that tells this file from another of the same name, None if there is no file."""
    if path is None:
        return None
    try:
        stat = os.stat(path)  # noqa: PTH116 - on the path of every append, and half the price of Path.stat
    except OSError as error:
        if not is_refusal(error):
            raise  # or the WAL would be taken for lost
        return None
    return stat.st_dev, stat.st_ino


def is_headless(path: Path | str) -> bool:
    """
    Return True if the file is empty or ends within its header, and its WAL does not.

    SQLite deletes the WAL of an empty file when it opens it. A new spool has a header before it has a WAL.
    """
    return bool(size_of(wal_of(path))) and size_of(path) < MIN_PAGE_SIZE  # in this order


def is_reserve_in_use(path: Path | str) -> bool:
    """Return whether the reserve of the spool at *path* has been given to a volume that is full."""
    with AllowingRefusal():
        return not os.stat(reserve_of(path)).st_size  # noqa: PTH116 - a `str` will do
    return False
