"""
The wal-index: the knowledge of the WAL that SQLite's connections share.

The format is described at https://sqlite.org/walformat.html#the_wal_index_file_format; the names here are its names.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from ...interruption import AllowingRefusal
from ..paths import shm_of

if TYPE_CHECKING:
    from pathlib import Path

_HEADER_SIZE = 48
_READ = 2 * _HEADER_SIZE + 4


class WalIndex(NamedTuple):
    """
    The wal-index.

    Attributes:
        frames: Frames in the WAL that are committed.
        backfilled: How many of them are in the file.
        page_size: Bytes of a page.
        salt: What the frames have in common.
    """

    frames: int
    backfilled: int
    page_size: int
    salt: bytes


def read_wal_index(path: Path) -> WalIndex | None:
    """
    Read the wal-index of the spool at *path*. Return None if there is none or it has no sound header.

    No connection of this process may be open: closing the wal-index drops SQLite's locks on it.
    """
    stored = b""
    with AllowingRefusal(), shm_of(path).open("rb") as index:
        stored = index.read(_READ)
    first, second = stored[:_HEADER_SIZE], stored[_HEADER_SIZE : 2 * _HEADER_SIZE]
    if len(stored) < _READ or first != second or not first[12]:
        return None
    page_size, frames = struct.unpack("=HI", first[14:20])
    (backfilled,) = struct.unpack("=I", stored[2 * _HEADER_SIZE :])
    return WalIndex(frames, backfilled, 65536 if page_size == 1 else page_size, first[32:40])
