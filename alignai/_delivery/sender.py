"""The sender: uploads in the background, for all clients of this process on a spool."""

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
"""How long stopping may take beyond a deadline that has passed."""


class Sender:
    """
    The uploads of one spool to one address, for all clients of this process that share them.

    A sender exists from the first client until the last has closed it or is garbage-collected. `sharing` finds the
    sender of a client. `lifecycle` handles forks and the exit of the process.

    Args:
        maintenance: The spool, with its maintenance.
        settings: Where to upload, and how.

    Attributes:
        spool: The spool.
        threads: The threads that do the work.
        cycle: The steps of the uploading thread.
        users: The clients that use the sender.
    """

    def __init__(self, maintenance: MaintenanceThread, settings: Settings) -> None:
        self.users: Users[object] = Users()
        self._maintenance = maintenance
        self.spool = maintenance.spool
        self._settings = settings
        self._config = settings.config
        self._records_only = not settings.config.sender
        self._batch_size = settings.config.flush_batch_size
        # Not at the top: HTTP takes longer to import than all the rest, and reading a spool does not need it.
        from alignai._transport.api_client import APIClient  # noqa: PLC0415

        self._client = APIClient
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin without threads, lease and connections: after a fork, those belong to the parent."""
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
        self._pid = os.getpid()  # last: another thread that sees the new pid continues

    def _check_fork(self) -> None:
        """Reset if this is a new process: C code may have forked without Python's hooks."""
        if self._pid != os.getpid():
            self.reset_after_fork()

    # -- what callers do -----------------------------------------------------------------------------------------------

    def notify(self) -> None:
        """Note a committed event: start missing threads, and wake them for a full batch or a long WAL."""
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
        """Start the threads if they do not run. They begin in *delay* seconds, or when they are woken."""
        if not self.users.ended:
            self.threads.start(delay)

    def flush(self, deadline: Deadline, worth_waiting: Callable[[int], bool]) -> FlushResult:
        """Have all events uploaded that are committed by now, as `Flusher.flush` does."""
        self._check_fork()
        return self._flusher.flush(deadline, worth_waiting)

    def request_flush(self, deadline: Deadline) -> None:
        """Request the upload of all events that are committed by now. Does not wait for it."""
        self._flusher.request_flush(deadline)

    # -- the end -------------------------------------------------------------------------------------------------------

    def drain(self, deadline: Deadline, worth_waiting: Callable[[int], bool]) -> int:
        """Flush, and return how many events remain unsent. They are on disk."""
        try:
            return self.flush(deadline, worth_waiting).remaining if self._config.sender else 0
        except SpoolClosedError:  # another thread has closed the spool, after sending all that it could
            return 0
        except SpoolError as error:
            logger.error("spool could not be flushed (%s)", error)
            return 0

    def report(self, remaining: int) -> None:
        """Log the events that a client, or the process, leaves unsent."""
        if remaining:
            logger.warning("%d events are not sent yet (kept in %s)", remaining, self.spool.path)

    def exit_deadline(self) -> Deadline:
        """Return how long the interpreter's exit may wait for this sender."""
        return Deadline.after(self._config.flush_timeout_seconds)

    def stop(self, deadline: Deadline) -> None:
        """End the threads and release the lease. If no client is left, close the spool."""
        self._check_fork()
        self.users.end()
        self._uploads.stop()
        grace = Deadline(max(deadline.at, monotonic()) + _GRACE_SECONDS)
        if not self._uploads.join(deadline):
            self._cancel_upload(grace)
        if not self._uploads.running:
            self._api.close()  # without a thread, nothing else does
            self._leave()
        self._maintenance.stop(grace)

    def abandon(self) -> None:
        """End a sender whose construction was interrupted. Its spool is closed by the caller."""
        self.users.end()
        self._maintenance.users.end()

    def _cancel_upload(self, deadline: Deadline) -> None:
        """Cancel repeatedly: an upload may begin just after one was cancelled."""
        self._api.cancel()
        while not self._uploads.join(deadline.sooner(_CANCEL_AGAIN_SECONDS)) and not deadline.expired:
            self._api.cancel()

    def _leave(self) -> None:
        if not self.users:
            self._maintenance.leave(self)

    # -- on the threads ------------------------------------------------------------------------------------------------

    def _tick(self) -> float:
        self.start()  # restarts the other thread, if it has died
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
        """Restart the uploading thread if it died, or end it without clients. Called by the maintenance thread."""
        if not self.users and not self._uploads.running:
            self.users.end_if_unused()
        if not self.users.ended:
            self.start()
            return
        self._uploads.stop()
        if not self._uploads.running:
            self._leave()
