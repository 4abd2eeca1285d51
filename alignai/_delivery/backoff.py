"""The waits between attempts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final


@dataclass(slots=True)
class Backoff:
    """
    Exponential backoff with full jitter.

    Each wait is drawn evenly from 0 to a ceiling that doubles from *first_seconds* to *max_seconds*. So after an outage
    the clients of a fleet return at different times, not at once.
    """

    first_seconds: float = 0.5
    max_seconds: float = 60.0
    _ceiling: float = field(default=0.0, init=False)

    def next(self, at_least: float = 0.0) -> float:
        """Return the next wait in seconds: a random part on top of *at_least*, the pause that the server asked for."""
        self._ceiling = min(self.max_seconds, self._ceiling * 2 or self.first_seconds)
        return at_least + random.uniform(0.0, self._ceiling)  # noqa: S311 - jitter is no secret

    def reset(self) -> None:
        """Begin again at *first_seconds*, after a success."""
        self._ceiling = 0.0


_MAX_SHARING_PROCESSES: Final = 8
"""Processes on one spool that share the attempts of an outage. The attempts of more processes add up."""


@dataclass(slots=True)
class AttemptShare:
    """
    The share of this process in the attempts on a batch, beside other processes on the spool.

    Each multiplies its wait by the number of attempts meanwhile. So together they try as often as one process would.
    """

    _request_id: str = ""
    _attempts: int = 0

    def of(self, request_id: str, attempts: int) -> int:
        """Return how many attempts all processes made since the last failure here, this one included."""
        made = attempts - self._attempts if request_id == self._request_id else 1
        self._request_id, self._attempts = request_id, attempts
        return min(max(1, made), _MAX_SHARING_PROCESSES)
