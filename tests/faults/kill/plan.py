"""The plan of a trial of kills. It is drawn in advance, so that a seed determines all of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from tests.faults.kill.crash_points import CREATING, ENDING, KEEPING, POINTS, step_of
from tests.faults.kill.worker import Orders

if TYPE_CHECKING:
    import random
    from pathlib import Path

GENERATIONS = ((1, 5), (2, 4), (3, 3), (4, 2), (2, 2))
"""The number of generations, and of workers in each."""

HELPFUL: dict[str, dict[str, Any]] = {
    "splitting a batch": {"flush_batch_size": 50},
    "deleting": {"sent_retention_seconds": 0},
    "pruning": {"sent_retention_seconds": 0},
    "vacuuming": {"flush_batch_size": 50, "sent_retention_seconds": 0, "max_spool_bytes": 64 << 20},
    "a checkpoint": {"max_spool_bytes": 4 << 20},
}
"""The settings with which a client reaches a step."""

COMMANDS = {
    "requeueing": ("requeue",),
    "counting what is requeued": ("requeue",),
    "purging rejected events": ("purge --state rejected --yes",),
    "counting what is purged": ("purge --state pending --yes", "purge --state rejected --yes", "requeue"),
}
"""The commands that reach a step."""

REACHING, REACHING_SLOWLY = 2.0, 10.0
"""Seconds in which a worker reaches its crash point, or a distant one. It is killed after that."""

LARGE = {"a checkpoint": 60_000, "vacuuming": 200_000}
"""Characters of the longest events with which a worker reaches a step. The default is 1000."""


@dataclass(frozen=True)
class Fate:
    """
    How a worker ends.

    Attributes:
        orders: Its work until then.
        kind: "killed", at its crash "point", "terminated", or "ending" by itself.
        instant: Seconds after its begin until it is killed or terminated. The limit if it dies at a crash point.
        together: All workers that meet here are killed at one instant.
    """

    orders: Orders
    kind: str
    instant: float
    together: threading.Barrier | None = None


@dataclass(frozen=True)
class Plan:
    """
    A trial.

    Attributes:
        aim: The crash point of most workers that die at one.
        config: The settings of all clients.
        failing: The fraction of requests that fail.
        away: The fraction of the time in which the server cannot be reached.
        most: The maximum number of events in a request that the server accepts.
        generations: The number of generations, one after the other.
        workers: The number of workers in each generation, at the same time.
        keeping: If true, commands requeue and purge beside the workers.
    """

    aim: str
    config: dict[str, Any]
    failing: float
    away: float
    most: int
    generations: int
    workers: int
    keeping: bool

    @classmethod
    def drawn(cls, rng: random.Random, aim: str) -> Self:
        """Draw everything that the workers share."""
        config = {
            "synchronous": rng.choice(["normal", "normal", "full"]),
            "sent_retention_seconds": rng.choice([0, 3600]),
            "max_spool_bytes": rng.choice([4 << 20, 64 << 20]),
            "flush_interval_ms": rng.choice([1, 50]),
            "flush_batch_size": rng.choice([3, 7, 50]),
            "flush_timeout_seconds": 0.3,
            "request_timeout_seconds": 2,
        }
        config |= HELPFUL.get(step_of(aim), {})
        most = 4 if step_of(aim) == "splitting a batch" else rng.choice([4, 50])
        generations, workers = rng.choice(GENERATIONS)
        faults = (0, 0.1) if step_of(aim) in KEEPING else (rng.choice([0, 0.2, 0.5]), rng.random() * 0.8)
        keeping = step_of(aim) in KEEPING or rng.random() < 0.2
        return cls(aim, config, *faults, most, generations, workers, keeping)

    def generation(self, rng: random.Random, number: int, folder: Path) -> list[Fate]:
        """Draw the workers of one generation. A worker that dies while it creates the file comes alone, and first."""
        if number == 0 and step_of(self.aim) in CREATING:
            return [self.at_point(rng, folder / "first", self.aim)]
        workers = self._workers(rng, number, folder)
        if self.keeping:
            workers.append(self._keeper(rng, folder / f"g{number}keeper"))
        if step_of(self.aim) in KEEPING:
            workers.append(self.provider(folder / f"g{number}provider"))
        return workers

    def _workers(self, rng: random.Random, number: int, folder: Path) -> list[Fate]:
        journals = [folder / f"g{number}w{worker}" for worker in range(self.workers)]
        if rng.random() < 0.3:
            together, instant = threading.Barrier(len(journals)), _instant(rng)
            return [Fate(self._orders(rng, each), "killed", instant, together) for each in journals]
        return [self._fate(rng, each) for each in journals]

    def _keeper(self, rng: random.Random, journal: Path) -> Fate:
        """Return commands that run beside the workers."""
        if step_of(self.aim) in KEEPING:
            return self.at_point(rng, journal, self.aim)
        commands = rng.choice(list(COMMANDS.values()))
        return Fate(_keeping(journal, commands), rng.choice(["killed", "killed", "terminated"]), _instant(rng))

    def _fate(self, rng: random.Random, journal: Path) -> Fate:
        kind = rng.choice(["killed"] * 6 + ["point"] * 3 + ["terminated", "ending"])
        if kind == "point":
            return self.at_point(rng, journal, self.aim if rng.random() < 0.6 else rng.choice(POINTS))
        orders = self._orders(rng, journal)
        return Fate(orders, kind if orders.threads else "terminated" if kind == "ending" else kind, _instant(rng))

    def _orders(self, rng: random.Random, journal: Path) -> Orders:
        role = rng.choice(["writer", "uploader", "both", "both"])
        return Orders(
            name=journal.name,
            journal=str(journal),
            threads=0 if role == "uploader" else rng.choice([1, 3]),
            events=rng.choice([5, 60, 200]),
            pause=rng.choice([0, 0.001, 0.003]),
            largest=rng.choice([1000, 60_000]),
            poison=rng.choice([0, 0, 0.03]),
            config=self.config | {"sender": role != "writer"},
            patience=rng.choice([0, 0.2, 1]),
        )

    def provider(self, journal: Path) -> Fate:
        """Return a worker that lives long enough for some of its events to be refused."""
        orders = Orders(
            journal.name, str(journal), events=100, pause=0.01, largest=1000, poison=0.3, config=self.config
        )
        return Fate(replace(orders, patience=1.0), "ending", 0)

    def at_point(self, rng: random.Random, journal: Path, point: str, times: int | None = None) -> Fate:
        """Return a worker that is likely to reach *point*."""
        step = step_of(point)
        if step in KEEPING:
            orders = _keeping(journal, COMMANDS[step])
            return Fate(replace(orders, point=point, times=times or rng.choice([1, 1, 3])), "point", REACHING)
        orders = Orders(
            name=journal.name,
            journal=str(journal),
            threads=3,
            events=5 if step in ENDING else 150,
            largest=LARGE.get(step, 1000),
            poison=0.1 if step == "rejecting" else 0,
            config=self.config,
            patience=5 if step == "vacuuming" else 1,
            point=point,
            times=times or rng.choice([1, 1, 2]),
        )
        return Fate(orders, "point", REACHING_SLOWLY if step == "vacuuming" else REACHING)


def _keeping(journal: Path, commands: tuple[str, ...]) -> Orders:
    return Orders(name=journal.name, journal=str(journal), events=1000, pause=0.02, commands=commands)


def _instant(rng: random.Random) -> float:
    """Return a time from 0.1 ms to 0.8 s, with equal chances for each order of magnitude."""
    return float(10 ** rng.uniform(-4, -0.1))
