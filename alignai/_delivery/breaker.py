"""Telling a bad event from a server that refuses everything."""

from __future__ import annotations

from dataclasses import dataclass

MIN_REJECTIONS = 10
"""Fewer events in a row may well be bad."""


@dataclass(slots=True)
class RejectionBreaker:
    """
    What becomes of the events of a batch that is taken apart.

    Attributes:
        tripped: Whether whole batches were refused, event by event, and nothing has been accepted since.
    """

    tripped: bool = False
    _last: int = 0
    _rejected: int = 0
    _accepted: bool = False

    def begin_split(self, last: int) -> None:
        """A batch up to row *last* was refused as a whole; its pieces come next."""
        if last > self._last:
            self._last, self._accepted = last, False

    def accepted(self) -> None:
        """The server took something."""
        self._accepted = True
        self._rejected = 0
        self.tripped = False

    def rejected(self, last: int) -> bool:
        """
        An event, the one in row *last*, was refused alone.

        Returns:
            Whether it was the last of a batch of which nothing was accepted, after many, and slower is better.
        """
        self._rejected += 1
        if last < self._last or self._accepted:
            return False
        self.tripped = self.tripped or self._rejected >= MIN_REJECTIONS
        return self.tripped
