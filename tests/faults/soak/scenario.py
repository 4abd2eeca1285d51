"""
Soak: a steady rate for half an hour, with faults that come and go, and nothing grows.

One worker records `RATE` events a second. Its server has phases of faults and of absence. Other processes inspect the
spool, open it and are killed. The worker's descriptors, threads and memory and the sizes of the spool's file and WAL
are measured all the time and printed as a table. The regression line through the values after the warm-up may rise by
no more than `MAX_GROWTH`. The received events are compared with the acknowledged ones.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.network.faults import NetworkFaults
from tests.faults.network.scenario import arrived, delivered, sound
from tests.faults.network.worker import recording
from tests.support.clients import inspect, worker
from tests.support.servers.raw import OK, RawServer, answer

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.network.worker import RemoteWorker
    from tests.faults.scenario import Run, Trial

MIN_SECONDS = 5.0
"""The minimum length in seconds. A soak of less than a minute proves little more than that it works."""

RATE = 100
"""Events a second."""

BEAT = 0.5
"""Seconds between two groups of events."""

WARM_UP = 0.25
"""The fraction of the time in which buffers, caches and retained events may still grow."""

MAX_GROWTH = {"descriptors": 4, "threads": 1.5, "memory": 8 << 20, "file": 4 << 20, "wal": 6 << 20}
"""The maximum rise of the regression line from the end of the warm-up to the end."""

MAX = {"descriptors": 60, "threads": 10, "memory": 200 << 20, "file": 64 << 20, "wal": 24 << 20}
"""The maximum of any value."""

PHASES = (None, 0, 0.1, 0, 0.5, 0, 1)
"""Fault rates, None for no server. Each round has all of them, so that all rounds are alike."""

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
    The measured values.

    Attributes:
        seconds: The times of the measurements, since the beginning.
        values: The values by name.
    """

    seconds: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MAX_GROWTH})

    def add(self, seconds: float, worker: RemoteWorker, spool_path: Path) -> None:
        """Measure now."""
        found = worker.call("resources")
        found["file"] = _size(spool_path)
        found["wal"] = _size(spool_path.with_name(spool_path.name + "-wal"))
        self.seconds.append(seconds)
        for name, values in self.values.items():
            values.append(found[name])

    def growth(self, name: str) -> float:
        """Return the rise of the regression line through the values after the warm-up."""
        start = next(i for i, second in enumerate(self.seconds) if second >= self.seconds[-1] * WARM_UP)
        start = min(start, len(self.seconds) - 2)  # a line needs two values, on a slow machine too
        seconds, values = self.seconds[start:], self.values[name][start:]
        return statistics.linear_regression(seconds, values).slope * (seconds[-1] - seconds[0])

    def row(self, since: int) -> str:
        """Format the maximum of each value since the measurement number *since*."""
        most = {name: max(values[since:]) for name, values in self.values.items()}
        return (
            f"{self.seconds[-1]:8.0f} {most['descriptors']:12.0f} {most['threads']:8.0f} "
            f"{most['memory'] / 2**20:8.1f} {most['file'] / 2**20:8.2f} {most['wal'] / 2**20:8.2f}"
        )


HEADING = " seconds  descriptors  threads   memory     file      WAL   acknowledged   pending  (MiB)"


def run(run: Run) -> None:
    """Soak for all of the time."""
    for trial in run.trials():
        with tempfile.TemporaryDirectory() as folder, RawServer(answer(OK)) as elsewhere:
            network = NetworkFaults(trial.seed, elsewhere.url)
            with RawServer(network.serve, reads=False) as server:
                soak(run, trial, Path(folder), network, server)


def soak(run: Run, trial: Trial, folder: Path, network: NetworkFaults, server: RawServer) -> None:
    """Run one worker from beginning to end."""
    log, spool_path = folder / "log", folder / "spool.db"
    config = {"request_timeout_seconds": 1, "sent_retention_seconds": 5, "flush_interval_ms": 200}
    with log.open("w") as sink, recording(server.url, spool_path, sink, **config) as worker:
        acknowledged, measured = recorded(run, trial, worker, network, server, spool_path)
        network.fault_rate = 0.0
        judged(trial, measured)
        arrived(trial, worker)
        trial.check("the worker ends well", holds=worker.end() == 0)
    run.count(events=len(acknowledged), requests=len(network.taken), faults=sum(network.met.values()))
    delivered(trial, acknowledged, network.taken)
    trial.check(f"no error is logged: {log.read_text()[-2000:]}", holds="ERROR" not in log.read_text())
    sound(trial, spool_path)


def recorded(
    run: Run, trial: Trial, worker: RemoteWorker, network: NetworkFaults, server: RawServer, spool_path: Path
) -> tuple[list[str], Measured]:
    """Record at a steady rate while faults come and go. Return the acknowledged ids and the measured values."""
    length = max(MIN_SECONDS, run.seconds)
    acknowledged: list[str] = []
    measured, shown = Measured(), 0
    faults = _faults(run, trial.rng, worker, network, server, spool_path, every=min(20.0, length / 10))
    print(HEADING)
    for beat, seconds in enumerate(_beats(length)):
        acknowledged += worker.call("record", len(acknowledged) + 1, round(RATE * BEAT))
        next(faults)
        measured.add(seconds, worker, spool_path)
        if (beat + 1) % round(min(60, length / 5) / BEAT) == 0:
            pending = worker.call("stats")["pending"]
            print(f"{measured.row(shown)} {len(acknowledged):14,} {pending:9,}", flush=True)
            shown = len(measured.seconds)
    faults.close()
    return acknowledged, measured


def judged(trial: Trial, measured: Measured) -> None:
    """Print the growth of each value and compare it with its limit."""
    for name, values in measured.values.items():
        growth = measured.growth(name)
        print(f"{name:12} least {min(values):12,.0f}  most {max(values):12,.0f}  growth {growth:12,.0f}")
        trial.check(f"{name} stay flat, not grow by {growth:,.0f}", holds=growth <= MAX_GROWTH[name])
        trial.check(f"{name} stay bounded, not {max(values):,.0f}", holds=max(values) <= MAX[name])


def _beats(length: float) -> Iterator[float]:
    """Yield the seconds since the beginning every `BEAT` seconds until *length*, and at least twice."""
    began = time.monotonic()
    beat = 0
    while (seconds := time.monotonic() - began) < length or beat < 2:
        yield seconds
        beat += 1
        time.sleep(max(0.0, began + beat * BEAT - time.monotonic()))


def _faults(
    run: Run,
    rng: random.Random,
    worker: RemoteWorker,
    network: NetworkFaults,
    server: RawServer,
    spool_path: Path,
    every: float,
) -> Iterator[None]:
    """Change the phase every *every* seconds. The caller advances this often and closes it in the end."""
    change_at, phases, absent = 0.0, list(PHASES), False
    try:
        while True:
            if time.monotonic() >= change_at:
                change_at = time.monotonic() + every
                if absent:
                    server.start()
                if not phases:
                    phases = rng.sample(PHASES, len(PHASES))
                phase = phases.pop()
                absent = phase is None
                if absent:
                    server.stop()
                network.fault_rate = phase or 0.0
                worker.call("flush", 0)  # ends the waits of the phase before, so that each phase has its own figures
                _others(server.url, spool_path)
                run.count(phases=1, absences=absent, kills_of_others=1)
            yield
    finally:
        if absent:
            server.start()


def _others(url: str, spool_path: Path) -> None:
    """Let one process inspect the spool and another open it and be killed."""
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
