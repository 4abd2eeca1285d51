"""The steps of the uploading thread: lead or follow, and upload the batches that are due."""

from __future__ import annotations

import queue
import socket
import threading
from contextlib import contextmanager
from time import time
from typing import TYPE_CHECKING

from alignai._delivery.standstill import Standstill
from alignai._delivery.uploader import Uploader
from alignai._safe_logging import logger
from alignai.clock import monotonic
from alignai.spool import Lease, SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alignai._transport.api_client import APIClient
    from alignai.config import Config
    from alignai.spool import Backlog, Spool

_TICK_SECONDS = 0.25
"""How often the leader checks for rows and flush requests of other processes."""

_LEASE_SECONDS = 1.0
"""How often the followers try to take over."""

_NOTE_SECONDS = 1.0
"""How long a release waits for another process that writes, to note in the spool that the lease ends."""

_MAX_BATCHES_IN_A_ROW = 16
"""Batches between two checks for pending rows and flush requests."""


class UploadCycle:
    """
    The steps of one sender, done by one thread at a time.

    Args:
        spool: The spool to upload.
        api: Uploads one batch.
        config: How soon, and how much at once.
        leaving: Returns whether the thread is to end after the current batch.

    Attributes:
        uploader: Uploads and settles one batch.
        turn: Held by the thread that does a step.
        idle: Whether the last step found nothing to do, or another process that does it.
        uploading: Whether an upload is under way.
        uploads: How many uploads have begun.
    """

    def __init__(self, spool: Spool, api: APIClient, config: Config, leaving: Callable[[], bool]) -> None:
        self.uploader = Uploader(spool, api, config)
        self.turn = threading.RLock()
        self.idle = False
        self.uploading = False
        self.uploads = 0
        self._spool = spool
        self._config = config
        self._leaving = leaving
        self._lease = Lease(spool.path)
        self._lease_noted = False
        self._waiters: list[queue.SimpleQueue[None]] = []
        self._flush_to = 0
        self._requested_to = 0
        self._backoff_skipped_to = 0
        self._pending_since: tuple[int, float] | None = None
        self._standstill = Standstill(spool.path, config.request_timeout_seconds)

    # -- for callers ---------------------------------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Whether this process holds the lease."""
        return self._lease.held

    @contextmanager
    def settlements(self) -> Iterator[queue.SimpleQueue[None]]:
        """Yield a queue that gets an item each time batches have been settled."""
        settled: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiters.append(settled)
        try:
            yield settled
        finally:
            self._waiters.remove(settled)

    def flush_to(self, target: int) -> None:
        """Have the rows up to *target* uploaded at once."""
        self._flush_to = max(self._flush_to, target)
        self._backoff_skipped_to = 0

    # -- a step --------------------------------------------------------------------------------------------------------

    def step(self, *, abandoned: bool) -> float:
        """
        Upload the batches that are due, if this process leads.

        Args:
            abandoned: Whether no client is left, so that no batch needs to wait for more events.

        Returns:
            Seconds until there may be something to do.
        """
        self.idle = False
        self.uploader.notice_others()
        if self._yields_lease():
            self.release_lease()
            return min(self.uploader.not_before.remaining, _TICK_SECONDS)
        if not self._lead():
            self.idle = True
            return self._follow()
        backlog = self._spool.backlog()
        self.uploader.pause_after_crashes(backlog.crashes)
        self._skip_backoff_for_flush(backlog)
        if not self._is_due(backlog, abandoned=abandoned):
            self.idle = True
            return _TICK_SECONDS
        if not self.uploader.not_before.expired:
            return min(self.uploader.not_before.remaining, _TICK_SECONDS)
        self._upload(backlog)
        return 0.0

    def release_lease(self) -> None:
        """Release the lease, so that another process can upload."""
        try:
            if self._lease_noted:
                self._lease_noted = False
                self._spool.note_lease_given(monotonic() + _NOTE_SECONDS)
        except SpoolError as error:
            logger.debug("end of the lease could not be noted (%s)", error)
        finally:
            self._lease.release()

    def _upload(self, backlog: Backlog) -> None:
        """Upload the full batches that are pending, up to a limit, without reading the backlog again after each."""
        pending = backlog.pending
        for _ in range(_MAX_BATCHES_IN_A_ROW):
            uploaded = self._upload_next()
            pending -= uploaded
            if not uploaded or pending < self._config.flush_batch_size:
                break
            if self._leaving() or not self.uploader.not_before.expired or not self._lease.held:
                break
        for settled in list(self._waiters):
            settled.put(None)

    def _upload_next(self) -> int:
        self.uploads += 1
        self.uploading = True
        try:
            return self.uploader.upload_next()
        finally:
            self.uploading = False

    def _yields_lease(self) -> bool:
        """
        Return True between two attempts of an outage, if another process should try meanwhile.

        If the wait is so short that the others would not notice, the lease is kept.
        """
        if not self.uploader.may_yield or self.uploader.not_before.expired:
            return False
        self._skip_backoff_for_flush(self._spool.backlog())
        remaining = self.uploader.not_before.remaining
        return remaining > (_LEASE_SECONDS if self._lease.held else 0)

    def _lead(self) -> bool:
        if not self._lease.held:
            self._lease_noted = False
            if not self._lease.acquire():
                return False
        if not self._lease_noted:
            self._spool.note_lease(socket.gethostname())
            self._lease_noted = True
        return True

    def _follow(self) -> float:
        """Pass flush requests on to the process that uploads, and watch it."""
        if self._flush_to > self._requested_to:
            self._requested_to = self._flush_to
            self._spool.request_flush(self._flush_to)
        backlog = self._spool.backlog()
        self._standstill.look(backlog, due=self._is_due(backlog, abandoned=False))
        return _TICK_SECONDS if self._waiters else _LEASE_SECONDS

    def _skip_backoff_for_flush(self, backlog: Backlog) -> None:
        """Cut the wait short, once for each flush. If the upload fails again, it waits again."""
        flush_to = max(self._flush_to, backlog.flush_to)
        if flush_to > self._backoff_skipped_to:
            self._backoff_skipped_to = flush_to
            self.uploader.reset_backoff()

    def _is_due(self, backlog: Backlog, *, abandoned: bool) -> bool:
        if backlog.open_batches or backlog.pending >= self._config.flush_batch_size:
            return True
        if not backlog.pending:
            return False
        is_requested = max(self._flush_to, backlog.flush_to) > backlog.batched_through
        return is_requested or abandoned or self._is_overdue(backlog)

    def _is_overdue(self, backlog: Backlog) -> bool:
        """
        Return True once the oldest event is `flush_interval_ms` old.

        Checked against the wall clock, which all processes share, and against the monotonic clock, in case the wall
        clock is set back.
        """
        if self._pending_since is None or self._pending_since[0] != backlog.batched_through:
            self._pending_since = (backlog.batched_through, monotonic())
        interval = self._config.flush_interval_ms / 1000
        by_wall_clock = backlog.oldest_at is not None and time() - backlog.oldest_at >= interval
        return by_wall_clock or monotonic() - self._pending_since[1] >= interval
