"""How large a request is: larger while a backlog waits, smaller after the server or the line refused one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from alignai.config import Config
    from alignai.spool import Batch

MIN_LIMIT_BYTES: Final = 4096
"""
Bytes. No server or proxy is set to a lower limit for a request on purpose: the usual ones begin at 8 KiB. So a refusal
of a smaller request for its size says nothing about its size.
"""

_FULL_BATCHES_BEFORE_GROWTH: Final = 4
"""Full batches in a row."""

_MAX_GROWTH: Final = 16
_FAST_FRACTION: Final = 0.1
"""Of what an upload may take."""

_PATIENCE: Final = 64
_MAX_PATIENCE: Final = 4096
"""Batches that must get through before a limit that was learnt is doubled."""


class BatchSize:
    """
    Grows as TCP's window does: in a row of full batches, each that the server takes soon doubles the next.

    A batch keeps its events until its outcome is known, however often it has to be sent: so it stays within
    `max_batch_bytes`, and grows no further than what a line five times slower than now still takes in time. With the
    end of the row the usual size is back.

    If a batch is refused for its size, or a grown one for whatever reason, half of it is the limit from then on. What
    is learnt so may have been one bad event, or the server may change: after many batches that got through, the limit
    is doubled, and after twice as many if that was too early.

    Args:
        config: The usual size, and the limits of a request.

    Attributes:
        events: The most that the next batch may hold.
        bytes: The most that the next batch may take; a single event may be larger.
    """

    def __init__(self, config: Config) -> None:
        self.events = self._usual_events = config.flush_batch_size
        self.bytes = config.max_batch_bytes
        self._fast_seconds = config.request_timeout_seconds * _FAST_FRACTION
        self._in_a_row = 0
        self._config = config
        self._max_events = config.flush_batch_size * _MAX_GROWTH
        self._accepted = 0
        self._patience = _PATIENCE
        self._raised = False

    def is_grown(self, batch: Batch) -> bool:
        """Whether *batch* is larger than usual, so that its size may be what is wrong with it."""
        return len(batch) > self._usual_events

    def sent(self, batch: Batch, seconds: float) -> None:
        """The server took *batch* in so many *seconds*."""
        self._accepted += 1
        if self._accepted >= self._patience:
            self._raise_limits()
        if len(batch) < self.events:
            self.reset()
            return
        self._in_a_row += 1
        if seconds > self._fast_seconds:
            self.events = max(self._usual_events, self.events // 2)
        elif self._in_a_row >= _FULL_BATCHES_BEFORE_GROWTH and 2 * batch.size <= self._config.max_batch_bytes:
            self.events = min(self._max_events, 2 * self.events)

    def refused(self, batch: Batch) -> None:
        """The server does not take *batch* as it is."""
        if self.is_grown(batch):
            self._max_events = max(self._usual_events, min(self._max_events, len(batch) // 2))
            self._learn()
        self.reset()

    def too_large(self, batch: Batch) -> None:
        """The server, or the line, does not take *batch* for its size."""
        self.bytes = min(self.bytes, max(MIN_LIMIT_BYTES, batch.size // 2))
        self._learn()
        self.refused(batch)

    def reset(self) -> None:
        """Go on with the usual size."""
        self._in_a_row = 0
        self.events = self._usual_events

    def restore(self) -> None:
        """Forget what was learnt: it had nothing to do with sizes."""
        self._max_events = self._config.flush_batch_size * _MAX_GROWTH
        self.bytes = self._config.max_batch_bytes
        self._accepted = 0

    def _learn(self) -> None:
        if self._raised:
            self._patience = min(2 * self._patience, _MAX_PATIENCE)
        self._raised = False
        self._accepted = 0

    def _raise_limits(self) -> None:
        self._accepted = 0
        self._raised = True
        self._max_events = min(self._config.flush_batch_size * _MAX_GROWTH, 2 * self._max_events)
        self.bytes = min(self._config.max_batch_bytes, 2 * self.bytes)
