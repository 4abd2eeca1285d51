"""The parts that every scenario has: a time limit, a seed to run a trial again, and figures to report."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator


def says_what_to_do(message: str) -> bool:
    """Return whether an error message has a second part, which says what to do."""
    return bool(re.search(r" - |\. [A-Z]", message))


@dataclass(frozen=True)
class Trial:
    """One attempt to break a promise. All randomness in it comes from its seed."""

    seed: str
    rng: random.Random

    def check(self, what: str, *, holds: bool) -> None:
        """Fail with *what* was promised unless it *holds*."""
        if not holds:
            self.fail(f"broken: {what}")

    def fail(self, what: str) -> NoReturn:
        """Raise AssertionError with the reason and the seed that repeats the trial."""
        raise AssertionError(f"{what} (python -m tests.faults --replay {self.seed})")


@dataclass
class Run:
    """
    The run of one scenario.

    Attributes:
        scenario: The name of the scenario.
        seed: The seed of the whole run. The seed of a trial is made of it, the scenario and the trial's number.
        seconds: How long to go on. At least one trial is always made.
        most: The maximum number of trials.
        only: The number of the one trial to run again.
        figures: Counts of attempts and observations.
    """

    scenario: str
    seed: int
    seconds: float
    most: int = 1_000_000
    only: int | None = None
    figures: Counter[str] = field(default_factory=Counter)

    def trials(self) -> Iterator[Trial]:
        """Yield trials until the time or the number is used up."""
        over_at = time.monotonic() + self.seconds
        for number in range(self.most) if self.only is None else [self.only]:
            if self.figures["trials"] and time.monotonic() >= over_at:
                return
            seed = f"{self.seed}/{self.scenario}/{number}"
            self.figures["trials"] += 1
            yield Trial(seed, random.Random(seed))

    def count(self, **seen: int) -> None:
        """Add to the figures."""
        self.figures.update(seen)
