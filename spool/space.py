"""How the bytes that a spool may take are shared out between the file and its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import SpoolFullError

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

PAGE_SIZE = 4096
_MOST_LOG = 64 << 20
_MOST_BEFORE_CHECKPOINT = 4 << 20
_VACUUM_PAGES = 128
_VACUUM_FROM_PAGES = 1024


@dataclass(frozen=True)
class Space:
    """
    The limits that follow from *max_bytes*.

    A quarter, at most 64 MiB, is the log's; the rest is the file's, and SQLite itself refuses to pass it. Only the
    connection that appends is held to it, so that marking and deleting work on a full spool.
    """

    max_bytes: int

    @property
    def log_bytes(self) -> int:
        """What the log may take."""
        return min(self.max_bytes // 4, _MOST_LOG)

    @property
    def log_alarm(self) -> int:
        """Bytes of log at which appending stops for a checkpoint; what is appended unseen fits in the other half."""
        return self.log_bytes // 2

    @property
    def checkpoint_at(self) -> int:
        """Bytes of log at which upkeep moves it into the file."""
        return min(self.log_bytes // 4, _MOST_BEFORE_CHECKPOINT)

    @property
    def unverified_bytes(self) -> int:
        """Bytes that may be appended before the log is looked at."""
        return min(self.log_bytes // 8, 1 << 20)

    @property
    def max_pages(self) -> int:
        """Pages that the file may have."""
        return (self.max_bytes - self.log_bytes) // PAGE_SIZE

    def refuse_oversize(self, size: int, path: Path) -> None:
        """Raise SpoolFullError for an event that would not fit in an empty spool."""
        if size > self.max_bytes // 2:
            raise SpoolFullError(
                f"spool {path}: an event of {size} bytes does not fit in a spool of {self.max_bytes} bytes "
                "- raise max_spool_bytes"
            )

    def refuse_long_log(self, size: int, path: Path) -> None:
        """Raise SpoolFullError where even a checkpoint could not keep the log within its bounds."""
        if size > self.log_bytes:
            raise SpoolFullError(
                f"spool {path}: its write-ahead log has grown to {size} bytes, because some program reads the spool "
                "without end - find it (lsof) and end it, or raise max_spool_bytes"
            )


def vacuum(db: sqlite3.Connection) -> None:
    """Give a few free pages back to the file system, where there are many."""
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    if free > max(_VACUUM_FROM_PAGES, pages // 2):
        # On Python 3.11 `execute` frees a single page, whatever the number.
        db.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
