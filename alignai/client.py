"""The client: its construction, delivery and end. `_event_methods` has its event methods."""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager
from dataclasses import fields
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, NoReturn, Self

from alignai._delivery import lifecycle
from alignai._delivery.sharing import Share
from alignai._event_methods import EventMethods
from alignai._interruption import is_interruption
from alignai._plain import number
from alignai._recorder import Recorder, closed_error
from alignai._settings import resolve
from alignai.deadline import Deadline
from alignai.exception import short_repr
from alignai.results import ClientStats, FlushResult
from alignai.spool import SpoolClosedError, Stats
from alignai.validate import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from alignai.config import Config


class AlignAI(EventMethods):
    """
    Records what happens in AI conversations, and never loses an event.

    Each event method returns once its event is committed to the spool, a file on this machine. A thread uploads the
    events from there. Unsent events survive the process, however it ends. The next process that opens the spool sends
    them.

    Args:
        project_id: The project, 1 to 64 characters. None or "" for `ALIGNAI_PROJECT_ID`.
        api_key: The project's API key. None or "" for `ALIGNAI_API_KEY`. It is kept in memory only. A client that
            uploads nothing (`Config(sender=False)`, or disabled) needs none.
        api_host: The server's address, http(s)://host[:port]. None or "" for `ALIGNAI_HOST`, or else
            https://api.impaction.ai.
        config: The settings. None for the defaults.

    Raises:
        ConfigError: A setting is missing or invalid. All errors are listed.
        SpoolError: The spool cannot be used. It belongs to another project or a newer version, or cannot be written.

    Example:
        >>> sdk = AlignAI(project_id="TEFSZ16", api_key="KEY")  # doctest: +SKIP
        >>> sdk.open_session(session_id="s1", user_id="u1")  # doctest: +SKIP
        'c0ffee…'
        >>> sdk.close()  # doctest: +SKIP
    """

    def __init__(
        self,
        project_id: str | None = None,
        api_key: str | None = None,
        api_host: str | None = None,
        config: Config | None = None,
    ) -> None:
        settings = resolve(project_id, api_key, api_host, config, os.environ)
        self.project_id = settings.project_id
        self.api_host = settings.api_host
        self.config = settings.config
        self._path = settings.spool_path
        if not settings.disabled:
            lifecycle.begin(uploads=self.config.sender)
            self._share: Share | None = Share()
            self._finalizer = weakref.finalize(self, self._share.forget)  # before there is anything to release
            self._finalizer.atexit = False
            self._share.open(settings)
            self._spool = self._share.sender.spool
            self._recorder = Recorder(settings, self._spool, self._share.sender)
        else:
            self._share = None
            self._recorder = Recorder(settings, None, None)
        self._record = self._recorder.record

    def flush(self, timeout_seconds: float | None = None) -> FlushResult:
        """
        Upload all events that were recorded before this call, and wait for that.

        Args:
            timeout_seconds: How long to wait, 0 or more. None for `flush_timeout_seconds`. The server cannot make it
                longer. Events that are unsent by then stay in the spool and are sent later.

        Returns:
            The numbers of events sent, remaining and rejected. It is true if no events remain.

        Raises:
            ValidationError: The timeout is not a number, or negative.
            ClosedError: `close` has been called.
            SpoolError: The spool cannot be read.
        """
        deadline = self._deadline(timeout_seconds)
        with self._usable("flush"):
            return self._share.flush(deadline) if self._share else FlushResult()

    def close(self, timeout_seconds: float | None = None) -> None:
        """
        Flush, stop the background work and close the spool. Closing twice is harmless.

        Args:
            timeout_seconds: How long this may take, 0 or more. None for `flush_timeout_seconds`. Events that are unsent
                by then stay in the spool. Their count and path are logged, and the next process that opens the spool
                sends them. If `Config.sender` is False, this does not wait.

        Raises:
            ValidationError: The timeout is not a number, or negative.
        """
        deadline = self._deadline(timeout_seconds)
        try:
            self._recorder.closed = True
            if self._share:
                self._share.close(deadline)
        except BaseException:
            if self._share:
                self._share.leave()  # an interrupted caller may not call again
            raise

    def _deadline(self, timeout_seconds: float | None) -> Deadline:
        if timeout_seconds is None:
            timeout_seconds = self.config.flush_timeout_seconds
        try:
            seconds = number(timeout_seconds)
        except (TypeError, ValueError, ArithmeticError) as error:
            if is_interruption(error):
                raise
            seconds = -1
        if not seconds >= 0:
            raise ValidationError(f"timeout_seconds must be a number of at least 0, not {short_repr(timeout_seconds)}")
        return Deadline.after(min(seconds, TIMEOUT_MAX))

    def stats(self) -> ClientStats:
        """
        Return how many events are pending, in flight, sent, rejected and dropped, by all processes on the spool.

        The cost does not grow with the number of events.

        Raises:
            SpoolError: The spool cannot be read.
            ClosedError: `close` has been called.
        """
        with self._usable("stats"):
            if self._share is None:
                stats = Stats(str(self._path), 0, 0, 0, 0, 0, 0, 0, None, None, None, None)
            else:
                stats = self._spool.stats()
        figures = {field.name: getattr(stats, field.name) for field in fields(stats)}
        return ClientStats(**figures, lost=self._recorder.lost, filtered=self._recorder.filtered)

    @contextmanager
    def _usable(self, method: str) -> Iterator[None]:
        """Raise `ClosedError` if `close` has been called, also if another thread calls it during the call."""
        if self._recorder.closed:
            raise closed_error(method)
        try:
            yield
        except SpoolClosedError as error:
            raise closed_error(method) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self  # an object that holds a client may be copied: the copies share it, as threads do

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AlignAI cannot be pickled. Make one in each process: they share the spool")

    def __repr__(self) -> str:
        return f"<AlignAI project_id={self.project_id!r} spool={str(self._path)!r}>"
