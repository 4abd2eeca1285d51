"""How the bytes that a spool may take are shared out between the file and its WAL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import SpoolFullError

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

PAGE_SIZE = 4096
"""Bytes of a page in a spool that this package makes; one that was rebuilt elsewhere may have another size."""

PAGE_SIZES = tuple(512 << power for power in range(8))
"""Every page size that SQLite knows."""

PENDING_BYTE = 1 << 30
"""SQLite locks this byte and those behind it, and so never uses the page that it is on."""

_FRAME_HEADER_SIZE = 24
_FRAMES_OF_A_COMMIT = 4
_MAX_WAL_BYTES = 64 << 20
_MAX_BEFORE_CHECKPOINT = 6 << 20
_MAX_UNVERIFIED = 1 << 20
VACUUM_BYTES = 512 << 10
VACUUM_BYTES_OF_FULL_VOLUME = 32 << 10
"""Giving pages back moves others, which is written to the WAL. A full volume has little room for that."""

_VACUUM_FROM_BYTES = 4 << 20


class WalFullError(SpoolFullError):
    """There is no room in the WAL, and deleting events would not make any."""


@dataclass(frozen=True)
class Limits:
    """
    The limits that follow from *max_bytes*.

    A quarter, at most 64 MiB, is for the WAL, and a little for the wal-index. The reserve for a full volume has about
    as much as the WAL usually takes. The rest is for the file, and SQLite itself refuses to exceed it. That holds only
    for the connection that appends, so that marking and deleting work on a full spool.
    """

    max_bytes: int

    @property
    def wal_bytes(self) -> int:
        """Bytes that the WAL may take."""
        return min(self.max_bytes // 4, _MAX_WAL_BYTES)

    @property
    def wal_index_bytes(self) -> int:
        """Bytes that the wal-index may take. It grows by 32 KiB with every 16 MiB of WAL."""
        return (32 << 10) + self.wal_bytes // 256

    @property
    def wal_soft_limit(self) -> int:
        """Bytes of WAL at which an append stops for a checkpoint. Appends between two looks fit in the other half."""
        return self.wal_bytes // 2

    @property
    def largest_append(self) -> int:
        """Bytes that fit in the WAL at once, after a checkpoint has made it as short as `wal_checkpoint_bytes`."""
        return self.wal_bytes // 2

    @property
    def wal_checkpoint_bytes(self) -> int:
        """Bytes of WAL at which maintenance moves it into the file."""
        return min(self.wal_bytes // 4, _MAX_BEFORE_CHECKPOINT)

    @property
    def unverified_bytes(self) -> int:
        """Bytes that the WAL may grow by before it is looked at."""
        return min(self.wal_bytes // 8, _MAX_UNVERIFIED)

    @property
    def reserve_bytes(self) -> int:
        """Bytes of the volume that are kept for a checkpoint of a WAL as long as it usually becomes."""
        return self.wal_checkpoint_bytes

    def max_pages(self, page_size: int) -> int:
        """Return how many pages of *page_size* the file may have."""
        return (self.max_bytes - self.wal_bytes - self.wal_index_bytes - self.reserve_bytes) // page_size

    def check_size(self, size: int, path: Path) -> None:
        """Raise SpoolFullError for an event that would not fit in an empty spool."""
        if size > self.largest_append:
            raise SpoolFullError(
                f"spool {path}: an event of {size} bytes does not fit in a spool of {self.max_bytes} bytes, "
                f"which takes events of up to {self.largest_append} bytes. Raise max_spool_bytes."
            )

    def check_room_for_pages(self, size: int, page_size: int, path: Path) -> None:
        """Raise SpoolFullError if the WAL, once it is short, has no room for the pages of a commit of *size* bytes."""
        if self.wal_checkpoint_bytes + wal_growth(size, page_size) > self.wal_bytes:
            raise WalFullError(
                f"spool {path}: with pages of {page_size} bytes, an event of {size} bytes does not fit in a spool of "
                f"{self.max_bytes} bytes. Raise max_spool_bytes, or rebuild the spool with pages of {PAGE_SIZE} bytes."
            )

    def check_wal_size(self, size: int, path: Path) -> None:
        """Raise WalFullError if even a checkpoint could not keep the WAL within its bounds."""
        if size > self.wal_bytes:
            raise WalFullError(
                f"spool {path}: its write-ahead log has grown to {size} bytes, because some program reads the spool "
                "without end. Find it (lsof) and end it, or raise max_spool_bytes."
            )


def wal_growth(size: int, page_size: int) -> int:
    """Estimate what a commit of *size* bytes adds to the WAL: their pages, and the pages that point to them."""
    return (size // page_size + _FRAMES_OF_A_COMMIT) * (page_size + _FRAME_HEADER_SIZE)


def has_free_pages(db: sqlite3.Connection) -> bool:
    """Return whether any page of the file is free."""
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    return bool(free)


def is_sparse(db: sqlite3.Connection) -> bool:
    """Whether many pages of the file are free."""
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    return bool(free > max(_VACUUM_FROM_BYTES // page_size(db), pages // 2))


def vacuum(db: sqlite3.Connection, size: int) -> None:
    """Give free pages of *size* bytes back to the file system."""
    # On Python 3.11 `execute` frees a single page, whatever the number.
    db.executescript(f"PRAGMA incremental_vacuum({size // page_size(db)})")


def page_size(db: sqlite3.Connection) -> int:
    """Return the bytes of a page in the open file."""
    return int(db.execute("PRAGMA page_size").fetchone()[0])
