"""The two threads of a sender: started if possible, restarted if they die, paused around forks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignai._interruption import is_interruption
from alignai._safe_logging import logger
from alignai.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from alignai._delivery.background import BackgroundThread
    from alignai._delivery.maintenance import MaintenanceThread
    from alignai._delivery.upload_cycle import UploadCycle

_NO_THREAD_SECONDS = 1.0
"""How long to wait after a thread could not be started."""

_FORK_SECONDS = 1.0
"""How long a fork waits for a thread that is busy with the spool."""

_FORK_UPLOAD_SECONDS = 0.25
"""How long a fork waits for an upload. Only one fork waits for each."""


class SenderThreads:
    """
    The thread that uploads, and the maintenance thread, which all senders on the spool share.

    Args:
        maintenance: The spool, with its maintenance thread.
        uploads: The thread that uploads. None if this process only records.
        cycle: The steps of that thread.
    """

    def __init__(self, maintenance: MaintenanceThread, uploads: BackgroundThread | None, cycle: UploadCycle) -> None:
        self._maintenance = maintenance
        self._uploads = uploads
        self._cycle = cycle
        self._may_start = Deadline.after(0)
        self._warned = False
        self._waited_upload = 0

    @property
    def missing(self) -> bool:
        """Whether there should be a thread that uploads, but it could not be started."""
        return self._uploads is not None and not self._uploads.running and not self._uploads.leaving

    def start(self, delay: float = 0.0) -> None:
        """
        Start the threads that do not run, if possible.

        Args:
            delay: Seconds until their first tick, unless they are woken.
        """
        if not self._may_start.expired:
            return
        try:
            for thread in self._threads():
                thread.start(delay)
        except (RuntimeError, MemoryError) as error:  # the interpreter exits, a limit is reached, or it has no threads
            if is_interruption(error):
                raise
            self._may_start = Deadline.after(_NO_THREAD_SECONDS)
            if not self._warned:
                self._warned = True
                logger.warning(
                    "no thread can be started (%s): events are recorded in %s, and uploaded when flush() or close() "
                    "is called, at the exit, or by another process",
                    error,
                    self._maintenance.spool.path,
                )

    def wake(self) -> None:
        """Wake both threads. Does not wait, and may run in a finaliser."""
        for thread in self._threads():
            thread.wake()

    def wake_uploads(self) -> None:
        """Wake the thread that uploads, as `wake` does."""
        if self._uploads:
            self._uploads.wake()

    def pause(self) -> Callable[[], None]:
        """Have the threads end as soon as possible. Return a function that waits for that, as long as a fork may."""
        waits = [thread.pause() for thread in self._threads()]

        def wait() -> None:
            for ended, seconds in zip(waits, (_FORK_SECONDS, self._seconds_for_upload()), strict=False):
                ended(Deadline.after(seconds))

        return wait

    def resume(self) -> None:
        """Allow the threads again after a fork."""
        for thread in self._threads():
            thread.resume()

    def _seconds_for_upload(self) -> float:
        """Return how long a fork may wait. Only one waits for each upload, so that a hanging server delays one."""
        if not self._cycle.uploading:
            return _FORK_SECONDS
        if self._waited_upload == self._cycle.uploads:
            return 0.0
        self._waited_upload = self._cycle.uploads
        return _FORK_UPLOAD_SECONDS

    def _threads(self) -> list[BackgroundThread]:
        return [self._maintenance.thread, *([self._uploads] if self._uploads else [])]
