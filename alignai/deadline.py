"""A moment on the monotonic clock by which something must be over."""

from __future__ import annotations

import math
from dataclasses import dataclass

from alignai.clock import monotonic


@dataclass(frozen=True, slots=True)
class Deadline:
    """
    A moment on the monotonic clock.

    It goes down the calls where a timeout would not: whoever waits twice against one deadline waits once in all.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment *seconds* from now; at once where *seconds* is negative."""
        return cls(monotonic() + max(0.0, seconds))

    @classmethod
    def never(cls) -> Deadline:
        """A deadline that does not come."""
        return cls(math.inf)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative; infinite for `never`."""
        return max(0.0, self.at - monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining == 0

    def sooner(self, seconds: float) -> Deadline:
        """This deadline, or the moment *seconds* from now where that comes first."""
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.at)
