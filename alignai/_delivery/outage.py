"""The log lines of an outage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from alignai._safe_logging import logger
from alignai.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from pathlib import Path

FIRST_INTERVAL: Final = 60.0
MAX_INTERVAL: Final = 3600.0
"""Seconds between two lines about the same kind of failure."""


@dataclass(slots=True)
class _Pace:
    """When the next line about one kind of failure is due."""

    interval: float = FIRST_INTERVAL
    next_at: float = 0.0


class Outage:
    """
    Logs an outage: when it begins, at growing intervals while it lasts, and when it ends.

    A server that fails every other request causes many short outages. So the intervals keep growing from one outage to
    the next, until there has been none for as long as the last interval. An outage that ends before a line about it is
    due is not logged.

    Args:
        path: The spool that the lines name.
        count_pending: Returns how many events are pending.
        clock: Returns seconds.
    """

    def __init__(self, path: Path, count_pending: Callable[[], int], clock: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._count_pending = count_pending
        self._clock = clock
        self._paces: dict[Hashable, _Pace] = {}
        self._began_at: float | None = None
        self._began = datetime.now(UTC)
        self._last_at = 0.0
        self._logged = False

    def failed(self, kind: Hashable, problem: str) -> None:
        """Note a failure of this *kind*. *problem* is the text of the line."""
        now = self._clock()
        if self._began_at is None:
            self._began_at, self._began, self._logged = now, datetime.now(UTC), False
            calm = now - self._last_at
            self._paces = {known: pace for known, pace in self._paces.items() if calm < pace.interval}
        self._last_at = now
        pace = self._paces.setdefault(kind, _Pace(next_at=now))
        if now < pace.next_at:
            return
        pace.next_at = now + pace.interval
        pace.interval = min(2 * pace.interval, MAX_INTERVAL)
        self._logged = True
        since = self._began.isoformat(" ", "seconds")
        logger.warning("%s (%d events pending in %s, since %s)", problem, self._count_pending(), self._path, since)

    def ended(self) -> None:
        """Note that events were delivered."""
        if self._began_at is None:
            return
        if self._logged:
            logger.info("events are delivered again (after %d s)", self._clock() - self._began_at)
        self._began_at = None
        self._last_at = self._clock()
