"""What was acknowledged a moment ago, and would have to be appended again if the log were lost."""

from __future__ import annotations

from ..clock import monotonic

VERIFY_SECONDS = 0.05
VERIFY_ROWS = 64
"""How much may be acknowledged before the log is seen to be in its place."""

DELETING_SECONDS = 0.25
MAX_SEEN_BYTES = 4 << 20
"""
For how long, and how much, is remembered once the log has been seen in its place. Whoever deletes it has moved it into
the file a moment before: what was added in between is lost with it.
"""

Row = tuple[float, int, bytes]
"""What is stored of an event: when, its checksum, its payload."""

Numbered = tuple[int, Row]
"""A row, with its number."""


class RedoBuffer:
    """
    Rows by the look at the log that came after them.

    Attributes:
        unverified: Rows acknowledged since the log was last seen in its place.
        unverified_bytes: What they have made the log grow by.
        verified_at: When it was seen there, by the monotonic clock.
    """

    def __init__(self) -> None:
        self.forget()
        self.verified_at = 0.0

    def forget(self) -> None:
        """Remember nothing: it is in the file, or another process's."""
        self.unverified: list[Numbered] = []
        self.unverified_bytes = 0
        self._seen: list[Numbered] = []
        self._seen_before: list[Numbered] = []
        self._seen_bytes = 0
        self._seen_from = 0.0

    def verified(self) -> None:
        """The log has been seen in its place just now."""
        self._seen += self.unverified
        self._seen_bytes += self.unverified_bytes
        self.unverified.clear()
        self.unverified_bytes = 0
        self.verified_at = now = monotonic()
        if now - self._seen_from > DELETING_SECONDS or self._seen_bytes > MAX_SEEN_BYTES:
            self._seen_before, self._seen, self._seen_bytes, self._seen_from = self._seen, [], 0, now

    def reappended(self, rows: list[Numbered]) -> None:
        """Take *rows*, which are all of it, for new ones: the log they are in may be a moment old, and lost as well."""
        self.unverified = rows
        self.verified_at = 0.0
        self._seen_before, self._seen, self._seen_bytes, self._seen_from = [], [], 0, monotonic()

    def rows(self) -> list[Numbered]:
        """All that is remembered, by number."""
        return sorted(self._seen_before + self._seen + self.unverified)
