"""The rows that were acknowledged a moment ago, and must be appended again if the WAL is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterable

VERIFY_SECONDS = 0.05
VERIFY_ROWS = 64
"""How much may be acknowledged before the next look whether the WAL is in its place."""

DELETING_SECONDS = 0.25
MAX_SEEN_BYTES = 4 << 20
"""
For how long, and how much, is remembered once the WAL has been seen in its place. A program that deletes the WAL has
moved it into the file a moment before. Rows that were added in between are lost with it.
"""

Row = tuple[float, int, bytes]
"""The columns of an event: the time, the checksum and the payload."""

Numbered = tuple[int, Row]
"""A row, with its number."""


class RedoBuffer:
    """
    Rows that were written lately, by the look at the WAL that came after them, and whether the WAL must be synced.

    Attributes:
        unverified: Rows acknowledged since the WAL was last seen in its place.
        verified_at: When it was seen there, by the monotonic clock.
    """

    def __init__(self) -> None:
        self.forget()
        self.verified_at = 0.0
        self._max_unverified_bytes = 0
        self._dirty = False

    def add(self, seq: int, row: Row, growth: int) -> None:
        """Remember *row*, which was committed as number *seq* and made the WAL grow by *growth*."""
        self.unverified.append((seq, row))
        self._unverified_bytes += growth
        self._dirty = True

    def add_all(self, rows: Iterable[Numbered], growth: int) -> None:
        """Remember *rows*, which were committed together and made the WAL grow by *growth*."""
        self.unverified += rows
        self._unverified_bytes += growth
        self._dirty = True

    def due(self, growth: int) -> bool:
        """Return whether the WAL must be looked at before it grows by *growth*."""
        return (
            monotonic() - self.verified_at > VERIFY_SECONDS
            or len(self.unverified) >= VERIFY_ROWS
            or self._unverified_bytes + growth > self._max_unverified_bytes
        )

    def expire(self) -> None:
        """Have the WAL looked at before the next append: it may have grown by any amount."""
        self.verified_at = 0.0

    def mark_dirty(self) -> None:
        """Remember that the WAL was written to."""
        self._dirty = True

    def take_dirty(self) -> bool:
        """Return whether anything was written since the last call. The caller syncs the WAL."""
        dirty, self._dirty = self._dirty, False
        return dirty

    def forget(self) -> None:
        """Remember no row: all are in the file, or belong to another process."""
        self.unverified: list[Numbered] = []
        self._unverified_bytes = 0
        self._seen: list[Numbered] = []
        self._seen_before: list[Numbered] = []
        self._seen_bytes = 0
        self._seen_from = 0.0

    def verified(self, max_unverified_bytes: int) -> None:
        """Note that the WAL is in its place. It may grow by *max_unverified_bytes* before the next look."""
        self._max_unverified_bytes = max_unverified_bytes
        self._seen += self.unverified
        self._seen_bytes += self._unverified_bytes
        self.unverified.clear()
        self._unverified_bytes = 0
        self.verified_at = now = monotonic()
        if now - self._seen_from > DELETING_SECONDS or self._seen_bytes > MAX_SEEN_BYTES:
            self._seen_before, self._seen, self._seen_bytes, self._seen_from = self._seen, [], 0, now

    def reappended(self, rows: list[Numbered]) -> None:
        """Treat *rows*, which are all that is remembered, as new: their WAL may be a moment old, and lost as well."""
        self.unverified = rows
        self.verified_at = 0.0
        self._seen_before, self._seen, self._seen_bytes, self._seen_from = [], [], 0, monotonic()

    def rows(self) -> list[Numbered]:
        """Return all remembered rows, by number."""
        return sorted(self._seen_before + self._seen + self.unverified)
