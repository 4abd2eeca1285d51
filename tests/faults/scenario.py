"""What every point of the campaign has in common: a budget to spend, a seed to replay, and figures to report."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Trial:
    """One try at breaking something; all that is random in it comes from its seed."""

    seed: str
    rng: random.Random

    def check(self, what: str, *, holds: bool) -> None:
        """Say that a promise was broken, unless *what* was promised *holds*."""
        if not holds:
            self.fail(f"broken: {what}")

    def fail(self, what: str) -> NoReturn:
        """Say what went wrong, with the seed that makes it happen again."""
        raise AssertionError(f"{what} (python -m tests.faults --replay {self.seed})")


@dataclass
class Run:
    """
    The run of one point.

    Attributes:
        point: Its name.
        seed: Of the whole campaign; each trial's own follows from it, the point and the trial's number.
        seconds: How long to go on; at least one trial is always made.
        most: How many trials at most.
        only: The one trial to replay.
        figures: What was tried and seen, counted.
    """

    point: str
    seed: int
    seconds: float
    most: int = 1_000_000
    only: int | None = None
    figures: Counter[str] = field(default_factory=Counter)

    def trials(self) -> Iterator[Trial]:
        """Trials, until the time or the number is used up."""
        over_at = time.monotonic() + self.seconds
        for number in range(self.most) if self.only is None else [self.only]:
            if self.figures["trials"] and time.monotonic() >= over_at:
                return
            seed = f"{self.seed}/{self.point}/{number}"
            self.figures["trials"] += 1
            yield Trial(seed, random.Random(seed))

    def count(self, **seen: int) -> None:
        """Add to the figures."""
        self.figures.update(seen)
