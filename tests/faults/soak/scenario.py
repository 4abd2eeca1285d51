"""
Soak: a steady rate for half an hour, with faults coming and going, and nothing grows.

One worker records so many events a second; its server has spells of bad weather and of absence; other processes look
at the spool, record on it and are killed. The worker's descriptors, threads and memory and the spool's file and log are
measured all the while, printed as a table and judged at the end: the line through what was measured once all had
happened once may not rise by more than so much. What has arrived is held against what was acknowledged, as ever.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.network.scenario import arrived, delivered, sound
from tests.faults.network.weather import Weather
from tests.faults.network.worker import recording
from tests.support.clients import inspect, worker
from tests.support.servers.raw import OK, RawServer, answer

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.network.worker import Told
    from tests.faults.scenario import Run, Trial

SHORTEST = 5.0
"""Seconds; what is less than a minute proves that the soak works, and not much more."""

RATE = 100
"""Events a second."""

BEAT = 0.5
"""Seconds between two handfuls of events."""

WARMING_UP = 0.25
"""The part of the time in which things may still grow: buffers, caches, the retention of sent events."""

MOST_GROWTH = {"descriptors": 4, "threads": 1.5, "memory": 8 << 20, "file": 4 << 20, "log": 6 << 20}
"""What the line may rise by from the end of the warming up to the end."""

MOST = {"descriptors": 60, "threads": 10, "memory": 200 << 20, "file": 64 << 20, "log": 24 << 20}
"""What is never to be seen at all."""

SPELLS = (None, 0, 0.1, 0, 0.5, 0, 1)
"""How rough it gets, None for no server at all; all of them in each round, so that one round is like the other."""

STRANGER = """
import sys
from alignai import AlignAI, Config
sdk = AlignAI(config=Config(sender=False))
print(flush=True)
sys.stdin.readline()
"""


@dataclass
class Measured:
    """
    What was measured, and when.

    Attributes:
        seconds: When, since the beginning.
        values: What, by name.
    """

    seconds: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MOST_GROWTH})

    def add(self, seconds: float, worker: Told, spool_path: Path) -> None:
        """Measure now."""
        found = worker.tell("resources")
        found["file"] = _size(spool_path)
        found["log"] = _size(spool_path.with_name(spool_path.name + "-wal"))
        self.seconds.append(seconds)
        for name, values in self.values.items():
            values.append(found[name])

    def growth(self, name: str) -> float:
        """What the line through the values rises by after the warming up."""
        start = next(i for i, second in enumerate(self.seconds) if second >= self.seconds[-1] * WARMING_UP)
        seconds, values = self.seconds[start:], self.values[name][start:]
        return statistics.linear_regression(seconds, values).slope * (seconds[-1] - seconds[0])

    def row(self, since: int) -> str:
        """The most that was measured since the value of that number."""
        most = {name: max(values[since:]) for name, values in self.values.items()}
        return (
            f"{self.seconds[-1]:8.0f} {most['descriptors']:12.0f} {most['threads']:8.0f} "
            f"{most['memory'] / 2**20:8.1f} {most['file'] / 2**20:8.2f} {most['log'] / 2**20:8.2f}"
        )


HEADING = " seconds  descriptors  threads   memory     file      log   acknowledged   pending  (MiB)"


def run(run: Run) -> None:
    """Soak for all of the time there is."""
    for trial in run.trials():
        with tempfile.TemporaryDirectory() as folder, RawServer(answer(OK)) as elsewhere:
            weather = Weather(trial.seed, elsewhere.url)
            with RawServer(weather.serve, reads=False) as server:
                soak(run, trial, Path(folder), weather, server)


def soak(run: Run, trial: Trial, folder: Path, weather: Weather, server: RawServer) -> None:
    """One worker, from beginning to end."""
    log, spool_path = folder / "log", folder / "spool.db"
    config = {"request_timeout_seconds": 1, "sent_retention_seconds": 5, "flush_interval_ms": 200}
    with log.open("w") as sink, recording(server.url, spool_path, sink, **config) as worker:
        acknowledged, measured = recorded(run, trial, worker, weather, server, spool_path)
        weather.roughness = 0.0
        judged(trial, measured)
        arrived(trial, worker)
        trial.check("the worker ends well", holds=worker.end() == 0)
    run.count(events=len(acknowledged), requests=len(weather.taken), faults=sum(weather.met.values()))
    delivered(trial, acknowledged, weather.taken)
    trial.check(f"no error is logged: {log.read_text()[-2000:]}", holds="ERROR" not in log.read_text())
    sound(trial, spool_path)


def recorded(
    run: Run, trial: Trial, worker: Told, weather: Weather, server: RawServer, spool_path: Path
) -> tuple[list[str], Measured]:
    """Record at a steady rate, while faults come and go; what was acknowledged, and what was measured."""
    length = max(SHORTEST, run.seconds)
    acknowledged: list[str] = []
    measured, shown = Measured(), 0
    faults = _faults(run, trial.rng, worker, weather, server, spool_path, every=min(20.0, length / 10))
    print(HEADING)
    for beat, seconds in enumerate(_beats(length)):
        acknowledged += worker.tell("record", len(acknowledged) + 1, round(RATE * BEAT))
        next(faults)
        measured.add(seconds, worker, spool_path)
        if (beat + 1) % round(min(60, length / 5) / BEAT) == 0:
            pending = worker.tell("stats")["pending"]
            print(f"{measured.row(shown)} {len(acknowledged):14,} {pending:9,}", flush=True)
            shown = len(measured.seconds)
    faults.close()
    return acknowledged, measured


def judged(trial: Trial, measured: Measured) -> None:
    """Print how much each thing has grown, and hold it against its bound."""
    for name, values in measured.values.items():
        growth = measured.growth(name)
        print(f"{name:12} least {min(values):12,.0f}  most {max(values):12,.0f}  growth {growth:12,.0f}")
        trial.check(f"{name} stay flat, not grow by {growth:,.0f}", holds=growth <= MOST_GROWTH[name])
        trial.check(f"{name} stay bounded, not {max(values):,.0f}", holds=max(values) <= MOST[name])


def _beats(length: float) -> Iterator[float]:
    """Seconds since the beginning, every BEAT of them, until *length*."""
    began = time.monotonic()
    beat = 0
    while (seconds := time.monotonic() - began) < length:
        yield seconds
        beat += 1
        time.sleep(max(0.0, began + beat * BEAT - time.monotonic()))


def _faults(
    run: Run, rng: random.Random, worker: Told, weather: Weather, server: RawServer, spool_path: Path, every: float
) -> Iterator[None]:
    """Change the weather every so many seconds; to be asked often, and closed in the end."""
    change_at, spells, absent = 0.0, list(SPELLS), False
    try:
        while True:
            if time.monotonic() >= change_at:
                change_at = time.monotonic() + every
                if absent:
                    server.start()
                if not spells:
                    spells = rng.sample(SPELLS, len(SPELLS))
                spell = spells.pop()
                absent = spell is None
                if absent:
                    server.stop()
                weather.roughness = spell or 0.0
                worker.tell("flush", 0)  # cuts the waits of the spell before short: each is to have its own figures
                _others(server.url, spool_path)
                run.count(spells=1, absences=absent, kills_of_others=1)
            yield
    finally:
        if absent:
            server.start()


def _others(url: str, spool_path: Path) -> None:
    """Other processes: one looks at the spool, one opens it and is killed."""
    inspect(spool_path)
    with worker(STRANGER, url, spool_path) as stranger:
        assert stranger.stdout
        assert stranger.stdout.readline(), "another process could not open the spool"
        stranger.kill()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
