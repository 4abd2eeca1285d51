"""Recording: check an event, mask and encode it, commit it to the spool, wake the sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignai._events.encoder import EventEncoder
from alignai._safe_logging import logger
from alignai.exception import ClosedError
from alignai.interruption import is_interruption, is_refusal
from alignai.spool import SpoolClosedError, SpoolError

if TYPE_CHECKING:
    from alignai._delivery.sender import Sender
    from alignai._events.encoder import HookFailure
    from alignai._settings import Settings
    from alignai.spool import Spool

_FAILURES = (RuntimeError, MemoryError, ImportError, OSError, SpoolError)
"""What goes wrong after the commit and fails no event; what a signal handler raises goes to the caller."""


class Recorder:
    """
    The way of an event from the arguments of its method to the spool.

    Args:
        settings: Whose events they are, and what happens to an event that cannot be recorded.
        spool: Where they are committed; None if the SDK is disabled.
        sender: What is woken then; None if the SDK is disabled.

    Attributes:
        closed: Whether nothing is recorded any more.
        lost: Events that could not be recorded, if that is no error.
        filtered: Events that `before_spool` dropped.
    """

    def __init__(self, settings: Settings, spool: Spool | None, sender: Sender | None) -> None:
        self.closed = False
        self.lost = 0
        self.filtered = 0
        config = settings.config
        self._raises = config.on_spool_error == "raise"
        self._encoder = EventEncoder(settings.project_id, config.before_spool, config.max_event_bytes)
        self._spool = spool
        self._sender = sender

    def record(self, method: str, arguments: dict[str, object]) -> str | None:
        """Commit one event, and return its id; the event methods of `AlignAI` say what is raised."""
        if self.closed:
            raise closed_error(method)
        made = self._encoder.encode(method, arguments)
        if not isinstance(made, tuple):
            self._unmade(made)
            return None
        event_id, payload = made
        if self._spool is None or self._sender is None:
            return event_id
        try:
            self._spool.append(payload)
        except SpoolClosedError as error:  # `close` ran in another thread meanwhile
            raise closed_error(method) from error
        except SpoolError as error:
            self._lose(error, str(error))
            return None
        try:
            self._sender.notify()
        except _FAILURES as error:
            if is_interruption(error) or (isinstance(error, OSError) and not is_refusal(error)):
                raise
            logger.warning("an event was recorded, but the sender could not be woken: %s", error)
        return event_id

    def _unmade(self, failure: HookFailure | None) -> None:
        """`before_spool` has returned None, or has failed."""
        if failure is None:
            self.filtered += 1
        else:
            self._lose(failure.error, failure.description)

    def _lose(self, error: Exception, reason: str) -> None:
        if self._raises:
            raise error
        self.lost += 1
        if self.lost & (self.lost - 1) == 0:  # 1, 2, 4, 8, …: a full disk may not fill the log as well
            logger.error("an event could not be recorded and is lost, the %d. so far: %s", self.lost, reason)


def closed_error(method: str) -> ClosedError:
    """Return the error of a call of *method* after `close`."""
    return ClosedError(f"{method}: this AlignAI has been closed. Make a new one to go on")
