"""A background thread that does one thing again and again, and does not die of it."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from alignai.deadline import Deadline

logger = logging.getLogger("alignai")

_AFTER_ERROR_SECONDS = 1.0


class Loop:
    """
    A daemon thread that runs *step* until it is told to stop.

    Args:
        name: The thread's name.
        step: Does a little, and returns the seconds to wait before it is called again. What it raises is logged, once
            for each kind of error in a row, and it is called again.
        at_end: Called on the thread once it has been told to stop.
    """

    def __init__(self, name: str, step: Callable[[], float], at_end: Callable[[], None]) -> None:
        self.running = False
        self.stopping = False
        self._name = name
        self._step = step
        self._at_end = at_end
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        # Of all that could wake a thread, only this may be called by a signal handler or a finaliser that interrupts
        # a call of the same.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._last_error = ""

    def start(self) -> None:
        """Start the thread where it does not run; the interpreter's exit, which allows none, is no error."""
        with self._starting:
            if self.running or self.stopping:
                return
            self.running = True
            # Made anew by whoever starts: a server may have patched `queue` since (gevent, in a forked worker).
            self._wakes = queue.SimpleQueue()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                self.running = False
                self._thread = None
                self._report(error)

    def wake(self) -> None:
        """Let the next step come now."""
        if self._wakes.empty():
            self._wakes.put(None)

    def stop(self) -> None:
        """Make the step under way the last; nothing is waited for, and the thread is never started again."""
        self.stopping = True
        self.wake()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the end of the thread; whether it came by *deadline*."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(min(deadline.remaining, threading.TIMEOUT_MAX))
        return not thread.is_alive()

    def _run(self) -> None:
        try:
            self._repeat()
            self._at_end()
        except BaseException:  # whatever it is, someone should hear of it
            logger.exception("%s has died; it is started again when it is needed", self._name)
        finally:
            self.running = False

    def _repeat(self) -> None:
        # A function of its own: what is raised at the jump of a loop may escape the `try` around it (Python 3.13.0).
        while not self.stopping:
            self._wait(self._step_once())

    def _step_once(self) -> float:
        try:
            seconds = self._step()
        except Exception as error:  # noqa: BLE001 - a sender that dies would leave every later event unsent
            if not self.stopping:
                self._report(error)
            return _AFTER_ERROR_SECONDS
        self._last_error = ""
        return seconds

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and not self.stopping:
            try:
                self._wakes.get(timeout=seconds)
            except queue.Empty:
                return
        while not self._wakes.empty():
            self._wakes.get()

    def _report(self, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}"
        if told != self._last_error:
            self._last_error = told
            logger.error("%s goes on after an error: %s", self._name, told)
