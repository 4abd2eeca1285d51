"""Distinguishing a bad event from a server that refuses everything."""

from __future__ import annotations

from dataclasses import dataclass

MIN_REJECTIONS = 10
"""Fewer rejected events in a row may well be bad ones."""


@dataclass(slots=True)
class RejectionBreaker:
    """
    A circuit breaker for a server that rejects each event of a batch that is split.

    Attributes:
        tripped: Whether whole batches were rejected, event by event, and nothing has been accepted since.
    """

    tripped: bool = False
    _last: int = 0
    _rejected: int = 0
    _accepted: bool = False

    def begin_split(self, last: int) -> None:
        """Note that a batch up to row *last* was refused as a whole, and that its parts come next."""
        if last > self._last:
            self._last, self._accepted = last, False

    def accepted(self) -> None:
        """Note that the server accepted a batch."""
        self._accepted = True
        self._rejected = 0
        self.tripped = False

    def rejected(self, last: int) -> bool:
        """
        Note that the single event in row *last* was rejected.

        Returns:
            Whether uploads should slow down: it was the last event of a batch of which none was accepted, after many.
        """
        self._rejected += 1
        if last < self._last or self._accepted:
            return False
        self.tripped = self.tripped or self._rejected >= MIN_REJECTIONS
        return self.tripped
