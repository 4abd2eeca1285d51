"""Deadlines on the monotonic clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from alignai.clock import monotonic


@dataclass(frozen=True, slots=True)
class Deadline:
    """
    A moment on the monotonic clock.

    It can be passed down through calls, unlike a timeout: two waits with one deadline take no longer than one.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline *seconds* from now. It has passed if *seconds* is negative."""
        return cls(monotonic() + max(0.0, seconds))

    @classmethod
    def never(cls) -> Deadline:
        """Return a deadline that never passes."""
        return cls(math.inf)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative. Infinite for `never`."""
        return max(0.0, self.at - monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining == 0

    def sooner(self, seconds: float) -> Deadline:
        """Return this deadline, or the one *seconds* from now if that is sooner."""
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.at)
