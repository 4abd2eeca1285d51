"""How many events go into a request: more while a backlog waits, and the server is seen to take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from alignai.config import Config
    from alignai.spool import Batch

_A_BACKLOG: Final = 4
"""Full batches in a row."""

_MOST_TIMES: Final = 16
_SOON: Final = 0.1
"""Of what an upload may take."""


class BatchSize:
    """
    Grows as TCP's window does: in a row of full batches, each that the server takes soon doubles the next.

    A batch keeps its events until its outcome is known, however often it has to be sent: so it stays within
    `max_batch_bytes`, and grows no further than what a line five times slower than now still takes in time. With the
    end of the row the usual size is back. Where the server refuses a grown batch, half of that is the most from then
    on: it is taken for a limit of the server's, though it may have been one bad event.

    Args:
        config: The usual size, and the limits of a request.

    Attributes:
        events: The most that the next batch may hold.
    """

    def __init__(self, config: Config) -> None:
        self.events = self._usual = config.flush_batch_size
        self._most = config.flush_batch_size * _MOST_TIMES
        self._most_bytes = config.max_batch_bytes
        self._soon = config.request_timeout_seconds * _SOON
        self._in_a_row = 0

    def is_grown(self, batch: Batch) -> bool:
        """Whether *batch* is larger than usual, so that its size may be what is wrong with it."""
        return len(batch) > self._usual

    def sent(self, batch: Batch, seconds: float) -> None:
        """The server took *batch* in so many *seconds*."""
        if len(batch) < self.events:
            self.reset()
            return
        self._in_a_row += 1
        if seconds > self._soon:
            self.events = max(self._usual, self.events // 2)
        elif self._in_a_row >= _A_BACKLOG and 2 * batch.size <= self._most_bytes:
            self.events = min(self._most, 2 * self.events)

    def refused(self, batch: Batch) -> None:
        """The server does not take *batch* as it is."""
        if self.is_grown(batch):
            self._most = max(self._usual, min(self._most, len(batch) // 2))
        self.reset()

    def reset(self) -> None:
        """Go on with the usual size."""
        self._in_a_row = 0
        self.events = self._usual
