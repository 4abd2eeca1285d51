"""What is to happen in a trial of kills: drawn beforehand, so that a seed tells all of it."""

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
"""How many, and of how many workers."""

HELPFUL: dict[str, dict[str, Any]] = {
    "splitting a batch": {"flush_batch_size": 50},
    "deleting": {"sent_retention_seconds": 0},
    "pruning": {"sent_retention_seconds": 0},
    "vacuuming": {"flush_batch_size": 50, "sent_retention_seconds": 0, "max_spool_bytes": 64 << 20},
    "a checkpoint": {"max_spool_bytes": 4 << 20},
}
"""How to configure a client that is to come to a step."""

COMMANDS = {
    "requeueing": ("requeue",),
    "counting what is requeued": ("requeue",),
    "purging rejected events": ("purge --state rejected --yes",),
    "counting what is purged": ("purge --state pending --yes", "purge --state rejected --yes", "requeue"),
}
"""What somebody at a command line does who comes to a step."""

REACHING, REACHING_SLOWLY = 2.0, 10.0
"""Seconds that a worker has to come to its crash point, also to one far away; then it is killed wherever it is."""

LARGE = {"a checkpoint": 60_000, "vacuuming": 200_000}
"""Characters of the longest events of who is to come to a step; 1000 of others."""


@dataclass(frozen=True)
class Fate:
    """
    How a worker ends.

    Attributes:
        orders: What it is to do until then.
        kind: "killed", at its "point", "told" to end, or "let" end by itself.
        instant: Seconds after it began, for who is killed or told, and at the latest for who is to come to a point.
        together: All who meet here are killed at one instant.
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
        aim: The crash point that most of those who die at one die at.
        config: Of all clients.
        failing: Which part of the requests fails.
        away: Which part of the time the server cannot be reached.
        most: Events that it takes at once.
        generations: How many, one after the other.
        workers: How many in each, at the same time.
        keeping: Whether somebody requeues and purges beside them.
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
        """Draw all that is common to the workers."""
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
        weather = (0, 0.1) if step_of(aim) in KEEPING else (rng.choice([0, 0.2, 0.5]), rng.random() * 0.8)
        keeping = step_of(aim) in KEEPING or rng.random() < 0.2
        return cls(aim, config, *weather, most, generations, workers, keeping)

    def generation(self, rng: random.Random, number: int, folder: Path) -> list[Fate]:
        """Draw the workers of one generation; who is to die while the file is made comes alone, and first."""
        if number == 0 and step_of(self.aim) in CREATING:
            return [self.at_point(rng, folder / "first", self.aim)]
        workers = self._workers(rng, number, folder)
        if self.keeping:
            workers.append(self._keeper(rng, folder / f"g{number}keeper"))
        if step_of(self.aim) in KEEPING:
            workers.append(self.provider(folder / f"g{number}provider"))
        return workers

    def _workers(self, rng: random.Random, number: int, folder: Path) -> list[Fate]:
        logs = [folder / f"g{number}w{worker}" for worker in range(self.workers)]
        if rng.random() < 0.3:
            together, instant = threading.Barrier(len(logs)), _instant(rng)
            return [Fate(self._orders(rng, log), "killed", instant, together) for log in logs]
        return [self._fate(rng, log) for log in logs]

    def _keeper(self, rng: random.Random, log: Path) -> Fate:
        """Somebody at a command line, beside the workers."""
        if step_of(self.aim) in KEEPING:
            return self.at_point(rng, log, self.aim)
        commands = rng.choice(list(COMMANDS.values()))
        return Fate(_keeping(log, commands), rng.choice(["killed", "killed", "told"]), _instant(rng))

    def _fate(self, rng: random.Random, log: Path) -> Fate:
        kind = rng.choice(["killed"] * 6 + ["point"] * 3 + ["told", "let"])
        if kind == "point":
            return self.at_point(rng, log, self.aim if rng.random() < 0.6 else rng.choice(POINTS))
        orders = self._orders(rng, log)
        return Fate(orders, kind if orders.threads else "told" if kind == "let" else kind, _instant(rng))

    def _orders(self, rng: random.Random, log: Path) -> Orders:
        role = rng.choice(["writer", "uploader", "both", "both"])
        return Orders(
            name=log.name,
            log=str(log),
            threads=0 if role == "uploader" else rng.choice([1, 3]),
            events=rng.choice([5, 60, 200]),
            pause=rng.choice([0, 0.001, 0.003]),
            largest=rng.choice([1000, 60_000]),
            poison=rng.choice([0, 0, 0.03]),
            config=self.config | {"sender": role != "writer"},
            patience=rng.choice([0, 0.2, 1]),
        )

    def provider(self, log: Path) -> Fate:
        """A worker that lives long enough for some of its events to be refused."""
        orders = Orders(log.name, str(log), events=100, pause=0.01, largest=1000, poison=0.3, config=self.config)
        return Fate(replace(orders, patience=1.0), "let", 0)

    def at_point(self, rng: random.Random, log: Path, point: str, times: int | None = None) -> Fate:
        """A worker that is likely to come to *point*."""
        step = step_of(point)
        if step in KEEPING:
            orders = _keeping(log, COMMANDS[step])
            return Fate(replace(orders, point=point, times=times or rng.choice([1, 1, 3])), "point", REACHING)
        orders = Orders(
            name=log.name,
            log=str(log),
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


def _keeping(log: Path, commands: tuple[str, ...]) -> Orders:
    return Orders(name=log.name, log=str(log), events=1000, pause=0.02, commands=commands)


def _instant(rng: random.Random) -> float:
    """From a tenth of a millisecond to most of a second, the early ones as likely as the late."""
    return float(10 ** rng.uniform(-4, -0.1))
