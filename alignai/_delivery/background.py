"""A background thread that repeats one task, pauses around forks, and is restarted if it dies."""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from alignai._exclusive import exclusive
from alignai._safe_logging import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from alignai.deadline import Deadline

_AFTER_ERROR_SECONDS = 1.0
_EXIT_POLL_SECONDS = 0.0002


class BackgroundThread:
    """
    A daemon thread that calls *tick* until it is stopped.

    Args:
        name: The thread's name.
        tick: Does a small piece of work, and returns the seconds to wait until it is called again. If it raises an
            error, the error is logged, unless it equals the last one, and *tick* is called again.
        on_stop: Called on the thread when it ends, also if it dies, but not if it only pauses.

    Attributes:
        alive: Whether the thread is at work, as it notes itself. Reading this for each event is cheaper than `running`.
        stopping: Whether `stop` has been called.
    """

    def __init__(self, name: str, tick: Callable[[], float], on_stop: Callable[[], None]) -> None:
        self.alive = False
        self.stopping = False
        self._pausing = False
        self._name = name
        self._tick = tick
        self._on_stop = on_stop
        # A thread that runs `_run` and is not this one was replaced before it began. It ends at once.
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        # Only this kind of queue may be used by a signal handler or a finaliser that interrupts a call of the same
        # queue.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._last_error = ""
        self._last_death = ""

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def leaving(self) -> bool:
        """Whether the thread is to end after the current tick."""
        return self.stopping or self._pausing

    @exclusive
    def start(self, delay: float = 0.0) -> None:
        """
        Start the thread, unless it runs, pauses or has been told to stop.

        Args:
            delay: Seconds until the first tick, unless the thread is woken.

        Raises:
            RuntimeError: No thread can be started at this moment.
        """
        if self.running or self.leaving:
            return
        # A new queue for each thread: a server may have patched `queue` since (gevent, in a forked worker).
        self._wakes = queue.SimpleQueue()
        # Set before the start: if this call is interrupted meanwhile, the thread may run all the same.
        self._thread = threading.Thread(target=self._run, args=(delay,), name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have the next tick come now."""
        if self._wakes.empty():
            self._wakes.put(None)

    def stop(self) -> None:
        """Make the current tick the last. Does not wait. The thread is never started again."""
        self.stopping = True
        self.wake()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the end of the thread. Return True if it came by *deadline*."""
        return _join(self._thread, deadline)

    # -- around a fork -------------------------------------------------------------------------------------------------

    def pause(self) -> Callable[[Deadline], bool]:
        """Have the thread end after the current tick. Return a function that waits for that end."""
        thread = self._thread
        self._pausing = True
        self.wake()
        return lambda deadline: _join(thread, deadline) and _wait_until_gone(thread, deadline)

    @exclusive
    def resume(self) -> None:
        """Allow the thread again. If it has not ended yet, it continues."""
        self._pausing = False

    # -- on the thread -------------------------------------------------------------------------------------------------

    def _run(self, delay: float) -> None:
        died = True
        try:
            try:
                if self._begin():
                    self._wait(delay)
                    self._repeat()
                died = False
            except BaseException as error:  # noqa: BLE001 - any exception is reported
                self._report_death(error)
            finally:
                if self._thread is threading.current_thread():  # neither replaced nor paused
                    self.alive = False
                    self._on_stop()
        except BaseException as error:  # noqa: BLE001 - as above
            died = True
            self._report_death(error)
        if died:
            self._start_again()

    def _start_again(self) -> None:
        """Start another thread in place of this one. The thread that supervises it may have been killed as well."""
        with suppress(BaseException):  # the interpreter exits, or there is a limit: the next event tries again
            if self._disown():
                self.start(_AFTER_ERROR_SECONDS)

    @exclusive
    def _disown(self) -> bool:
        if self._thread is not threading.current_thread():
            return False
        self._thread = None
        return True

    @exclusive
    def _begin(self) -> bool:
        if self._thread is not threading.current_thread():
            return False
        self.alive = True
        return True

    def _repeat(self) -> None:
        # A function of its own: an exception at the jump of a loop may escape the `try` around it (Python 3.13.0).
        while not self._is_leaving():
            self._wait(self._tick_once())

    def _is_leaving(self) -> bool:
        return self.stopping or (self._pausing and self._take_pause())

    @exclusive
    def _take_pause(self) -> bool:
        """Decide and note it under one lock: `resume` is followed by a new thread, or lets this one continue."""
        if self._pausing:
            self._thread = None
            self.alive = False
        return self._pausing

    def _tick_once(self) -> float:
        try:
            seconds = self._tick()
        except Exception as error:  # noqa: BLE001 - if a sender died, every later event would stay unsent
            if not self.stopping:
                self._report_error(error)
            return _AFTER_ERROR_SECONDS
        self._last_error = ""
        return seconds

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and not self.leaving:
            with suppress(queue.Empty):
                self._wakes.get(timeout=seconds)
        while not self._wakes.empty():
            self._wakes.get()

    def _report_error(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._last_error:
            self._last_error = text
            logger.error("%s continues after an error (%s)", self._name, text)

    def _report_death(self, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._last_death:
            self._last_death = text
            logger.error("%s died and is restarted (%s)", self._name, text, exc_info=error)


def _join(thread: threading.Thread | None, deadline: Deadline) -> bool:
    if thread is None or not thread.is_alive():
        return True
    if thread is threading.current_thread():
        return False
    thread.join(min(deadline.remaining, threading.TIMEOUT_MAX))
    return not thread.is_alive()


def _wait_until_gone(thread: threading.Thread | None, deadline: Deadline) -> bool:
    """Wait until the system no longer counts the thread, which is a moment after its last Python code (Linux)."""
    task = f"/proc/self/task/{thread.native_id}" if thread and thread.native_id else ""
    while task and os.path.exists(task):  # noqa: PTH110 - a fork waits for this
        if deadline.expired:
            return False
        time.sleep(_EXIT_POLL_SECONDS)
    return True
