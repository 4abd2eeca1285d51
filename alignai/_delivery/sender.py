"""Sending in the background: one process on a spool uploads, and callers can wait for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from alignai._delivery.background import BackgroundThread
from alignai._delivery.flusher import Flusher
from alignai._delivery.threads import SenderThreads
from alignai._delivery.upload_cycle import UploadCycle
from alignai._delivery.users import Users
from alignai._safe_logging import logger
from alignai.clock import monotonic
from alignai.deadline import Deadline
from alignai.spool import SpoolClosedError, SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from alignai._delivery.maintenance import MaintenanceThread
    from alignai._settings import Settings
    from alignai.results import FlushResult

_CANCEL_AGAIN_SECONDS = 0.01
_GRACE_SECONDS = 0.05
"""What stopping may take beyond a deadline that has passed."""


class Sender:
    """
    The uploads of one spool to one address, for all clients of this process that share them.

    It is there from the first client until the last has closed it or is forgotten. What a process does before that and
    after it, between forks, at its exit, is in `sharing` and `lifecycle`.

    Args:
        maintenance: The spool, with its upkeep.
        settings: Where to upload, and how.

    Attributes:
        spool: The spool.
        threads: What does the work.
        cycle: What the uploading thread does.
        users: The clients that use it.
    """

    def __init__(self, maintenance: MaintenanceThread, settings: Settings) -> None:
        self.users: Users[object] = Users()
        self._maintenance = maintenance
        self.spool = maintenance.spool
        self._settings = settings
        self._config = settings.config
        self._records_only = not settings.config.sender
        self._batch_size = settings.config.flush_batch_size
        # Not at the top: HTTP takes longer to load than all the rest, and who only looks at a spool needs none.
        from alignai._transport.api_client import APIClient  # noqa: PLC0415

        self._client = APIClient
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin as in a new process: no thread, no lease, no connection; after a fork, those are the parent's."""
        self.users.reset_after_fork()
        self._api = self._client(self._settings.api_host, self._settings.api_key)
        self._uploads = BackgroundThread("alignai-sender", self._tick, self._on_stop)
        self.cycle = UploadCycle(self.spool, self._api, self._config, lambda: self._uploads.leaving)
        if self._maintenance.pid != os.getpid():
            self._maintenance.reset_after_fork()
        self._maintenance_thread = self._maintenance.thread
        self.threads = SenderThreads(self._maintenance, self._uploads if self._config.sender else None, self.cycle)
        self._flusher = Flusher(self._maintenance, self._config, self.cycle, self.threads, self.users)
        self._notified = 0
        self._pid = os.getpid()  # last: another thread that sees it goes on

    def _check_fork(self) -> None:
        """Begin as in a new process if this is one: C code may have forked without Python's hooks."""
        if self._pid != os.getpid():
            self.reset_after_fork()

    # -- what callers do -----------------------------------------------------------------------------------------------

    def notify(self) -> None:
        """See that the threads run, and wake them for a full batch or a long log: an event has been committed."""
        self._check_fork()
        if not (self._maintenance_thread.alive and (self._uploads.alive or self._records_only)):
            self.start()
        if self.spool.maintenance_due:
            self._maintenance_thread.wake()
        self._notified += 1
        if self._notified >= self._batch_size:
            self._notified = 0
            self.start()
            self._uploads.wake()

    def start(self, delay: float = 0.0) -> None:
        """Have the threads run, if they can, and do something in *delay* seconds, or when they are woken."""
        if not self.users.ended:
            self.threads.start(delay)

    def flush(self, deadline: Deadline, worth_waiting: Callable[[int], bool]) -> FlushResult:
        """Have everything that is committed by now uploaded, as `Flusher.flush` does."""
        self._check_fork()
        return self._flusher.flush(deadline, worth_waiting)

    def request_flush(self, deadline: Deadline) -> None:
        """Have everything that is committed by now uploaded without further wait, and wait for nothing."""
        self._flusher.request_flush(deadline)

    # -- the end -------------------------------------------------------------------------------------------------------

    def drain(self, deadline: Deadline, worth_waiting: Callable[[int], bool]) -> int:
        """Flush, and return how many events remain unsent; they are on disk."""
        try:
            return self.flush(deadline, worth_waiting).remaining if self._config.sender else 0
        except SpoolClosedError:  # by another thread, which has sent what it could: its owner closed or forgot it
            return 0
        except SpoolError as error:
            logger.error("the spool could not be flushed: %s", error)
            return 0

    def report(self, remaining: int) -> None:
        """Log what a client, or the process, leaves behind."""
        if remaining:
            logger.warning("%d events are not sent yet; they are kept in %s", remaining, self.spool.path)

    def exit_deadline(self) -> Deadline:
        """How long the interpreter's exit may wait for this."""
        return Deadline.after(self._config.flush_timeout_seconds)

    def stop(self, deadline: Deadline) -> None:
        """End the threads and give the lease back; if no client is left, close the spool."""
        self._check_fork()
        self.users.end()
        self._uploads.stop()
        grace = Deadline(max(deadline.at, monotonic()) + _GRACE_SECONDS)
        if not self._uploads.join(deadline):
            self._cancel_upload(grace)
        if not self._uploads.running:
            self._api.close()  # without a thread, nobody else does
            self._leave()
        self._maintenance.stop(grace)

    def abandon(self) -> None:
        """End before anything began: its construction was interrupted, and its spool is closed."""
        self.users.end()
        self._maintenance.users.end()

    def _cancel_upload(self, deadline: Deadline) -> None:
        """Again and again: an upload may begin just after it was told to end."""
        self._api.cancel()
        while not self._uploads.join(deadline.sooner(_CANCEL_AGAIN_SECONDS)) and not deadline.expired:
            self._api.cancel()

    def _leave(self) -> None:
        if not self.users:
            self._maintenance.leave(self)

    # -- on the threads ------------------------------------------------------------------------------------------------

    def _tick(self) -> float:
        self.start()  # the other thread, if it has died
        abandoned = not self.users
        with self.cycle.turn:
            seconds = self.cycle.step(abandoned=abandoned)
        if abandoned and self.cycle.idle:
            self.users.end_if_unused()
        if self.users.ended:
            self._uploads.stop()
        return seconds

    def _on_stop(self) -> None:
        try:
            self.cycle.release_lease()
            self._api.close()
        finally:
            if self._uploads.stopping:
                self._leave()

    def supervise(self) -> None:
        """Start the uploading thread again if it has died, and end what no client uses; for the upkeep's thread."""
        if not self.users and not self._uploads.running:
            self.users.end_if_unused()
        if not self.users.ended:
            self.start()
            return
        self._uploads.stop()
        if not self._uploads.running:
            self._leave()
