"""Sending in the background: who uploads, when, and how to wait for it."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import socket
import weakref
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING

from alignai.clock import monotonic
from alignai.deadline import Deadline
from alignai.loop import Loop
from alignai.results import FlushResult
from alignai.spool import Backlog, Lease, Spool, SpoolClosedError, SpoolError
from alignai.uploader import Uploader

if TYPE_CHECKING:
    from alignai._settings import Settings

logger = logging.getLogger("alignai")

_TICK_SECONDS = 0.25
"""How often the leader looks for rows and flush requests of other processes."""

_LEASE_SECONDS = 1.0
"""How often the others try to take over."""

_MOST_IN_A_ROW = 16
"""Batches between two looks at what waits and who flushes."""

_UPKEEP_SECONDS = 0.5
_FLUSH_POLL_SECONDS = 0.05
_ABORT_SECONDS = 0.01
_GRACE_SECONDS = 0.05
"""What stopping may take beyond a deadline that has passed."""


class Sender:
    """
    The background work on one spool: uploads, in the process that holds the lease, and upkeep, in every one.

    Its threads start with the first event, not before, so that a process that will fork stays without threads.

    Args:
        spool: The spool.
        settings: Where to upload, and how.
    """

    def __init__(self, spool: Spool, settings: Settings) -> None:
        self._spool = spool
        self._settings = settings
        self._config = settings.config
        self._stopped = False
        # Not at the top: HTTP takes longer to load than all the rest, and who only looks at a spool needs none.
        from alignai.api_client import APIClient  # noqa: PLC0415

        self._client = APIClient
        self.begin_anew()
        _live.add(self)

    def begin_anew(self) -> None:
        """As in a new process: no thread, no lease, no connection; after a fork, those are the parent's."""
        self._pid = os.getpid()
        self._api = self._client(self._settings.api_host, self._settings.api_key)
        self._uploader = Uploader(self._spool, self._api, self._config)
        self._lease = Lease(self._spool.path)
        self._uploads = Loop("alignai-sender", self._step, self._end)
        self._upkeep = Loop("alignai-upkeep", self._keep_up, self._end_upkeep)
        self._upkeep_due = Deadline.after(0)
        self._flushers: list[queue.SimpleQueue[None]] = []
        self._flush_to = 0
        self._requested_to = 0
        self._hastened_to = 0
        self._waiting_since: tuple[int, float] | None = None
        self._appended = 0
        self._ownerless = False

    # -- what callers do -----------------------------------------------------------------------------------------------

    def appended(self) -> None:
        """An event has been committed: see that the threads run, and wake the sender for a full batch."""
        if self._pid != os.getpid():
            self.begin_anew()
        if not self._upkeep.running or self._uploads.running != self._config.sender:
            self._start()
        if self._spool.needs_upkeep:
            self._upkeep.wake()
        self._appended += 1
        if self._appended >= self._config.flush_batch_size:
            self._appended = 0
            self._uploads.wake()

    def _start(self) -> None:
        if not self._stopped and not self._ownerless:  # or it could begin beside the thread that closes the spool
            self._upkeep.start()
            if self._config.sender:
                self._uploads.start()

    def hurry(self) -> int:
        """Have everything that is committed by now uploaded without further wait; the last row of it is returned."""
        target = self._spool.last_seq()
        if self._spool.unsettled(target):
            self._flush_to = max(self._flush_to, target)
            self._hastened_to = 0
            if not self._config.sender:
                self._spool.request_flush(target)
            self._start()
            self._uploads.wake()
        return target

    def flush(self, deadline: Deadline) -> FlushResult:
        """
        Have everything that is committed by now uploaded, and wait for it until *deadline*.

        Works too where another process holds the lease: it is asked to hurry.

        Raises:
            SpoolError: The spool cannot be read.
        """
        if self._pid != os.getpid():
            self.begin_anew()
        before = self._spool.totals()
        settled: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._flushers.append(settled)
        try:
            target = self.hurry()
            while (remaining := self._spool.unsettled(target)) and not deadline.expired and self._can_send():
                _wait_for(settled, deadline.sooner(_FLUSH_POLL_SECONDS))
        finally:
            self._flushers.remove(settled)
        after = self._spool.totals()
        return FlushResult(after.sent - before.sent, remaining, max(0, after.rejected - before.rejected))

    def _can_send(self) -> bool:
        """Whether anyone may: at the interpreter's exit no thread starts any more, and waiting for one is no use."""
        self._start()
        return self._uploads.running or not self._config.sender

    def stop(self, deadline: Deadline, *, for_good: bool = False) -> int:
        """
        Flush until *deadline*, then end the threads and give the lease back.

        Args:
            deadline: When it must be over, but for a moment.
            for_good: Whether the last thread to end closes the spool.

        Returns:
            How many events remain unsent; they are on disk.
        """
        if self._stopped:
            return 0
        remaining = self._drain(deadline) if self._config.sender else 0
        self._stopped = True
        self._ownerless |= for_good  # not before the flush: a thread without an owner ends as soon as it can
        self._uploads.stop()
        if not self._uploads.running:
            self._upkeep.stop()
        grace = Deadline(max(deadline.at, monotonic()) + _GRACE_SECONDS)
        if not self._uploads.join(deadline):
            self._abort_uploads(grace)
        self._upkeep.join(grace)
        if remaining:
            logger.warning("%d events are not sent yet; they are kept in %s", remaining, self._spool.path)
        return remaining

    def _abort_uploads(self, deadline: Deadline) -> None:
        """Again and again: an upload may begin just after it was told to end."""
        self._api.abort()
        while not self._uploads.join(deadline.sooner(_ABORT_SECONDS)) and not deadline.expired:
            self._api.abort()

    def _drain(self, deadline: Deadline) -> int:
        try:
            return self.flush(deadline).remaining
        except SpoolClosedError:  # by another thread, which has sent what it could: its owner closed or forgot it
            return 0
        except SpoolError as error:
            logger.error("the spool could not be flushed: %s", error)  # noqa: TRY400 - the message says it all
            return 0

    def close(self, deadline: Deadline) -> None:
        """Stop, then close the spool."""
        if self._pid != os.getpid():
            self.begin_anew()
        self.stop(deadline, for_good=True)
        if not self._upkeep.running:
            self._close_spool()

    def retire(self) -> None:
        """Whoever owned this is gone: send what is there, then end. Waits for nothing, and may run in a finaliser."""
        self._ownerless = True
        if self._uploads.running:
            self._uploads.wake()
        elif self._upkeep.running:
            self._upkeep.stop()
        else:
            self._close_spool()

    def exit_deadline(self) -> Deadline:
        """How long the interpreter's exit may wait for this."""
        return Deadline.after(self._config.flush_timeout_seconds)

    # -- the uploading thread ------------------------------------------------------------------------------------------

    def _step(self) -> float:
        if not self._lead():
            return self._follow()
        backlog = self._spool.backlog()
        self._hasten_for_flush(backlog)
        if not self._is_due(backlog):
            if self._ownerless:
                self._uploads.stop()
            return _TICK_SECONDS
        if not self._uploader.not_before.expired:
            return min(self._uploader.not_before.remaining, _TICK_SECONDS)
        self._upload(backlog)
        return 0.0

    def _upload(self, backlog: Backlog) -> None:
        """As many full batches as are waiting, up to a bound, without another look at the backlog after each."""
        waiting = backlog.waiting
        for _ in range(_MOST_IN_A_ROW):
            uploaded = self._uploader.upload_next()
            waiting -= uploaded
            if not uploaded or waiting < self._config.flush_batch_size:
                break
            if self._uploads.stopping or not self._uploader.not_before.expired:
                break
        for settled in list(self._flushers):
            settled.put(None)

    def _lead(self) -> bool:
        if not self._lease.held:
            if not self._lease.acquire():
                return False
            self._spool.note_lease(socket.gethostname())
        return True

    def _follow(self) -> float:
        """Another process uploads: pass on who waits for it."""
        if self._ownerless:
            self._uploads.stop()
        if self._flush_to > self._requested_to:
            self._requested_to = self._flush_to
            self._spool.request_flush(self._flush_to)
        return _TICK_SECONDS if self._flushers else _LEASE_SECONDS

    def _hasten_for_flush(self, backlog: Backlog) -> None:
        """Each flush cuts a wait short once; what fails again waits again."""
        flush_to = max(self._flush_to, backlog.flush_to)
        if flush_to > self._hastened_to:
            self._hastened_to = flush_to
            self._uploader.hasten()

    def _is_due(self, backlog: Backlog) -> bool:
        if backlog.open_batches or backlog.waiting >= self._config.flush_batch_size:
            return True
        if not backlog.waiting:
            return False
        asked = max(self._flush_to, backlog.flush_to) > backlog.tail or self._ownerless
        return asked or self._has_waited(backlog)

    def _has_waited(self, backlog: Backlog) -> bool:
        """By the wall clock, which other processes share, or by ours since we noticed, which nobody can put back."""
        if self._waiting_since is None or self._waiting_since[0] != backlog.tail:
            self._waiting_since = (backlog.tail, monotonic())
        interval = self._config.flush_interval_ms / 1000
        by_wall_clock = backlog.oldest_at is not None and time() - backlog.oldest_at >= interval
        return by_wall_clock or monotonic() - self._waiting_since[1] >= interval

    def _end(self) -> None:
        if self._lease.held:
            try:
                self._spool.note_lease_given()
            except SpoolError as error:
                logger.debug("the end of the lease could not be noted: %s", error)
            self._lease.release()
        self._api.close()
        self._upkeep.stop()

    def _end_upkeep(self) -> None:
        """The last thread to end closes the spool, where no one wants it any more."""
        if self._ownerless:
            self._close_spool()

    def _keep_up(self) -> float:
        if not self._upkeep_due.expired and not self._spool.needs_upkeep:
            return self._upkeep_due.remaining  # it was at it already when it was woken
        try:
            self._spool.upkeep()
        finally:
            self._upkeep_due = Deadline.after(_UPKEEP_SECONDS)
            self._log_notices()
        return _UPKEEP_SECONDS

    def _close_spool(self) -> None:
        self._spool.close()
        self._log_notices()

    def _log_notices(self) -> None:
        for notice in self._spool.notices():
            logger.log(logging.WARNING if notice.allowed else logging.ERROR, "%s", notice)


def _wait_for(settled: queue.SimpleQueue[None], deadline: Deadline) -> None:
    try:
        settled.get(timeout=deadline.remaining)
    except queue.Empty:
        return


_live: weakref.WeakSet[Sender] = weakref.WeakSet()


def _at_exit() -> None:
    """Drain every sender at once, for as long as each is allowed."""
    deadlines = [(sender, sender.exit_deadline()) for sender in list(_live)]
    for sender, _ in deadlines:
        with suppress(SpoolError):
            sender.hurry()
    for sender, deadline in deadlines:
        sender.stop(deadline)


def _after_fork_in_child() -> None:
    for sender in list(_live):
        sender.begin_anew()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
