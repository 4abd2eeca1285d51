"""The size of requests: larger while there is a backlog, smaller after the server or the network refused one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from alignai.config import Config
    from alignai.spool import Batch

MIN_LIMIT_BYTES: Final = 4096
"""
No server or proxy is deliberately configured with a lower limit for a request: the usual ones begin at 8 KiB. So if a
smaller request is refused for its size, its size is not the reason.
"""

_FULL_BATCHES_BEFORE_GROWTH: Final = 4
"""Full batches in a row."""

_MAX_GROWTH: Final = 16
_FAST_FRACTION: Final = 0.1
"""Of the time that an upload may take."""

_PATIENCE: Final = 64
_MAX_PATIENCE: Final = 4096
"""Batches that must succeed before a learnt limit is doubled."""


class BatchSize:
    """
    The size of the next batch. It grows like the window of TCP.

    In a row of full batches, each one that uploads fast doubles the next. A batch keeps its events until its outcome is
    known, however often it is sent. So it stays within `max_batch_bytes`, and it stops growing when an upload takes
    more than 10 % of the timeout: one that is twice as large succeeds even on a network five times slower. The first
    batch that is not full resets the size.

    If a batch is refused for its size, or a grown one for any reason, half of its size becomes the limit. The cause may
    have been one bad event, or the server may change. So after many successful batches the limit is doubled, and after
    twice as many if that was too early.

    Args:
        config: The usual size, and the limits of a request.

    Attributes:
        events: The maximum number of events in the next batch.
        bytes: The maximum size of the next batch. A single event may be larger.
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
        """Return True if *batch* is larger than usual, so that its size may be the reason for a refusal."""
        return len(batch) > self._usual_events

    def sent(self, batch: Batch, seconds: float) -> None:
        """Note that the server accepted *batch* in so many *seconds*."""
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
        """Note that the server does not accept *batch* as it is."""
        if self.is_grown(batch):
            self._max_events = max(self._usual_events, min(self._max_events, len(batch) // 2))
            self._learn()
        self.reset()

    def too_large(self, batch: Batch) -> None:
        """Note that *batch* is too large for the server or the network."""
        self.bytes = min(self.bytes, max(MIN_LIMIT_BYTES, batch.size // 2))
        self._learn()
        self.refused(batch)

    def reset(self) -> None:
        """Return to the usual size."""
        self._in_a_row = 0
        self.events = self._usual_events

    def restore(self) -> None:
        """Forget the learnt limits: the refusals had other reasons than the size."""
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
