"""Recording: check an event, mask and encode it, commit it to the spool, wake the sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignai._events.encoder import EventEncoder
from alignai._interruption import is_interruption, is_refusal
from alignai._safe_logging import logger
from alignai.exception import ClosedError
from alignai.spool import SpoolClosedError, SpoolError

if TYPE_CHECKING:
    from alignai._delivery.sender import Sender
    from alignai._events.encoder import HookFailure
    from alignai._settings import Settings
    from alignai.spool import Spool

_FAILURES = (RuntimeError, MemoryError, ImportError, OSError, SpoolError)
"""Errors after the commit, which fail no event. The exceptions of signal handlers go to the caller."""


class Recorder:
    """
    Takes events from the arguments of their methods to the spool.

    Args:
        settings: The project of the events, and the handling of those that cannot be recorded.
        spool: Where events are committed. None if the SDK is disabled.
        sender: Notified of each event. None if the SDK is disabled.

    Attributes:
        closed: Whether the client has been closed. Then nothing is recorded.
        lost: Events that could not be recorded, if `on_spool_error` is "log".
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
        """Commit one event and return its id. Raises as described in the event methods of `AlignAI`."""
        if self.closed:
            raise closed_error(method)
        encoded = self._encoder.encode(method, arguments)
        if not isinstance(encoded, tuple):
            self._skip(encoded)
            return None
        event_id, payload = encoded
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
            logger.warning("sender could not be woken (%s). The event is recorded", error)
        return event_id

    def _skip(self, failure: HookFailure | None) -> None:
        """Count an event that `before_spool` dropped, or for which it failed."""
        if failure is None:
            self.filtered += 1
        else:
            self._lose(failure.error, failure.description)

    def _lose(self, error: Exception, reason: str) -> None:
        if self._raises:
            raise error
        self.lost += 1
        if self.lost & (self.lost - 1) == 0:  # 1, 2, 4, 8, …: a full disk must not fill the log as well
            logger.error("event lost: %s (%d lost since start)", reason, self.lost)


def closed_error(method: str) -> ClosedError:
    """Return the error of a call of *method* after `close`."""
    return ClosedError(f"{method}: this AlignAI has been closed. Make a new one to go on")
