"""Flushing: a caller requests the upload of all committed events, and waits for it."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from alignai._exclusive import give_back, is_held
from alignai._interruption import is_interruption
from alignai._safe_logging import logger
from alignai.deadline import Deadline
from alignai.results import FlushResult
from alignai.spool import SpoolBusyError, SpoolClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from alignai._delivery.maintenance import MaintenanceThread
    from alignai._delivery.threads import SenderThreads
    from alignai._delivery.upload_cycle import UploadCycle
    from alignai._delivery.users import Users
    from alignai.config import Config

_POLL_SECONDS = 0.05


class Flusher:
    """
    Flushes a spool for the clients of one sender.

    The sender's thread uploads. If there is no thread, the calling thread does.

    Args:
        maintenance: The spool, with its maintenance.
        config: Says whether this process uploads.
        cycle: The steps of the uploads.
        threads: The threads of the sender.
        users: The clients. If there are none left, a flush does not wait.
    """

    def __init__(
        self,
        maintenance: MaintenanceThread,
        config: Config,
        cycle: UploadCycle,
        threads: SenderThreads,
        users: Users[object],
    ) -> None:
        self._maintenance = maintenance
        self._spool = maintenance.spool
        self._config = config
        self._cycle = cycle
        self._threads = threads
        self._users = users

    def flush(self, deadline: Deadline, worth_waiting: Callable[[int], bool]) -> FlushResult:
        """
        Have all events uploaded that are committed by now, and wait for that until *deadline*.

        If another process holds the lease, it is asked to upload at once. If there is no thread, the calling thread
        uploads.

        Args:
            deadline: When the flush must be over.
            worth_waiting: Returns whether to continue, given how many events remain.

        Raises:
            SpoolError: The spool cannot be read.
        """
        before = self._spool.totals()
        with self._cycle.settlements() as settled:
            target = self.request_flush(deadline)
            while (remaining := self._spool.unsettled(target)) and not deadline.expired and not self._users.ended:
                self._start()
                if not worth_waiting(remaining) or not self._wait(settled, deadline):
                    break
        after = self._spool.totals()
        return FlushResult(after.sent - before.sent, remaining, max(0, after.rejected - before.rejected))

    def request_flush(self, deadline: Deadline) -> int:
        """
        Request the upload of all events that are committed by now, and return the last row of them.

        If another process uploads, it learns of the request if the spool can note it by *deadline*.
        """
        target = self._spool.last_seq()
        if self._spool.unsettled(target):
            self._cycle.flush_to(target)
            if not self._config.sender:
                with suppress(SpoolBusyError):  # the other process uploads all the same, at its usual pace
                    self._spool.request_flush(target, deadline.at)
            self._start()
            self._threads.wake_uploads()
        return target

    def _wait(self, settled: queue.SimpleQueue[None], deadline: Deadline) -> bool:
        """Wait a moment for the uploading thread, or do its work if there is none. Return False if that cannot help."""
        if self._threads.missing:
            return self._step_here(settled, deadline)
        _wait_for(settled, deadline.sooner(_POLL_SECONDS))
        return True

    def _step_here(self, settled: queue.SimpleQueue[None], deadline: Deadline) -> bool:
        """Do a step of the uploading thread on the calling one, and release everything that others wait for."""
        turn = self._cycle.turn
        nested = is_held(turn)
        try:
            if not turn.acquire(timeout=min(deadline.remaining, threading.TIMEOUT_MAX)):
                return False
            seconds = self._step(deadline)
            turn.release()
        except BaseException:
            self._cycle.release_lease()  # an exception may have prevented its release before
            if not nested:
                give_back(turn)
            raise
        if seconds is None:
            return False
        _wait_for(settled, deadline.sooner(min(seconds, _POLL_SECONDS)))
        return True

    def _step(self, deadline: Deadline) -> float | None:
        """Return the seconds until there may be something to do. None if the step failed."""
        try:
            self._cycle.uploader.deadline = deadline
            seconds = self._cycle.step(abandoned=False)
            if not self._maintenance.thread.running:
                self._maintenance.maintain()
        except Exception as error:  # as on the thread: the events are on disk, and are uploaded later
            if isinstance(error, SpoolClosedError) or is_interruption(error):
                raise
            logger.error("calling thread could not upload (%s)", error)
            return None
        finally:
            self._cycle.uploader.deadline = Deadline.never()
            self._cycle.release_lease()
        return seconds

    def _start(self) -> None:
        if not self._users.ended:
            self._threads.start()


def _wait_for(settled: queue.SimpleQueue[None], deadline: Deadline) -> None:
    with suppress(queue.Empty):
        settled.get(timeout=deadline.remaining)
