"""The experiments, their cells, and the effort for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SIZE = 256
"""Characters of a message in experiments that do not vary the length."""

MAX_SECONDS = 4
"""The limit for calls back to back, or a slow disk would take an hour."""


@dataclass(frozen=True)
class Cell:
    """One measurement: a contestant and its job. `keep` names a folder that cells of an experiment share."""

    contestant: str
    job: dict[str, Any]
    keep: str = ""


@dataclass(frozen=True)
class Experiment:
    """Cells that are compared with each other."""

    name: str
    cells: list[Cell]
    preparation: list[Cell] = field(default_factory=list)


@dataclass(frozen=True)
class Effort:
    """The amounts of work: enough to judge by, or just enough to check that everything works."""

    calls: dict[int, int]
    paced_seconds: float
    seconds: float
    batches: tuple[int, ...]
    events_by_latency: dict[int, int]
    least_requests: int
    threads: tuple[int, ...]
    processes: tuple[int, ...]
    scales: tuple[int, ...]
    scale_calls: int
    starts: int


FULL = Effort(
    calls={50: 10_000, SIZE: 20_000, 8_000: 3_000, 200_000: 500},
    paced_seconds=3,
    seconds=1,
    batches=(50, 200, 1000),
    events_by_latency={0: 20_000, 20: 100, 100: 40},
    least_requests=100,
    threads=(1, 2, 4, 8, 16, 32, 64),
    processes=(1, 2, 4, 8, 16),
    scales=(0, 10_000, 1_000_000),
    scale_calls=50_000,
    starts=5,
)
QUICK = Effort(
    calls={SIZE: 300},
    paced_seconds=0.2,
    seconds=0.1,
    batches=(50,),
    events_by_latency={0: 500, 20: 3},
    least_requests=10,
    threads=(1, 4),
    processes=(3,),
    scales=(0, 1_000),
    scale_calls=300,
    starts=1,
)

ALIGNAI = ("alignai", "alignai full", "alignai sending", "alignai full sending")
VENDOR = ("vendor", "vendor sending")
SPOOL = ("Spool.append", "Spool.append full")
PEERS = ("persist-queue", "diskcache", "litequeue", "huey")
LIMITS = ("SQLite insert", "write+fdatasync")
PARTS = ("check and encode", "insert", "insert, read lock kept", "insert, no locks", "two writes", "six locks")


def plan(effort: Effort) -> dict[str, Experiment]:
    """Return every experiment by name."""
    experiments = [
        each(effort) for each in (_append, _parts, _paced, _drain, _threads, _processes, _scale, _cost, _start)
    ]
    return {experiment.name: experiment for experiment in experiments}


def _append(effort: Effort) -> Experiment:
    contestants = ALIGNAI + VENDOR + SPOOL + PEERS + LIMITS
    cells = [
        Cell(contestant, {"subject": "append", "size": size, "calls": calls, "most_seconds": MAX_SECONDS})
        for size, calls in effort.calls.items()
        for contestant in contestants
    ]
    return Experiment("append", cells)


def _parts(effort: Effort) -> Experiment:
    job = {"size": SIZE, "calls": effort.calls[SIZE]}
    whole = [Cell(each, {**job, "subject": "append", "most_seconds": MAX_SECONDS}) for each in ("alignai", "vendor")]
    return Experiment("parts", [*whole, *(Cell(part, {**job, "subject": "parts"}) for part in PARTS)])


def _paced(effort: Effort) -> Experiment:
    per_second = 1000
    calls = int(per_second * effort.paced_seconds)
    job = {"subject": "append", "size": SIZE, "calls": calls, "most_seconds": MAX_SECONDS, "per_second": per_second}
    return Experiment("paced", [Cell(contestant, job) for contestant in ALIGNAI + VENDOR + LIMITS])


def _drain(effort: Effort) -> Experiment:
    cells = [
        Cell(contestant, {"subject": "drain", "size": SIZE, "batch": batch, "latency_ms": latency, "events": events})
        for latency, amount in effort.events_by_latency.items()
        for batch in effort.batches
        # With latency, the number of requests decides. Without, the first requests cost more than the others.
        for events in [batch * amount if latency else max(amount, batch * effort.least_requests)]
        for contestant in ("alignai", "vendor", "requests.post", "http.client")
    ]
    return Experiment("drain", cells)


def _threads(effort: Effort) -> Experiment:
    cells = [
        Cell(contestant, {"subject": "threads", "size": SIZE, "threads": threads, "seconds": effort.seconds})
        for threads in effort.threads
        for contestant in ("alignai", "alignai full")
    ]
    return Experiment("threads", cells)


def _processes(effort: Effort) -> Experiment:
    job = {"subject": "processes", "size": SIZE, "seconds": effort.seconds}
    back_to_back = [
        Cell(contestant, {**job, "processes": processes})
        for processes in effort.processes
        for contestant in (*ALIGNAI, "SQLite insert")
    ]
    at_work = {**job, "processes": min(8, effort.processes[-1]), "per_second": 100}
    return Experiment("processes", back_to_back + [Cell(each, at_work) for each in (*ALIGNAI, "SQLite insert")])


def _scale(effort: Effort) -> Experiment:
    fill = [
        Cell("alignai", {"subject": "scale", "step": "fill", "size": SIZE, "pending": pending}, keep=str(pending))
        for pending in effort.scales
    ]
    job = {"subject": "scale", "size": SIZE, "batch": 50, "calls": effort.scale_calls}
    cells = [
        Cell("alignai", {**job, "step": step, "scale": pending}, keep=str(pending))
        for pending in effort.scales
        for step in ("append", "drain")
    ]
    return Experiment("scale", cells, fill)


def _cost(effort: Effort) -> Experiment:
    job = {"subject": "cost", "size": SIZE, "per_second": 1000, "seconds": effort.paced_seconds}
    return Experiment("cost", [Cell(each, job) for each in ("nothing", *ALIGNAI, *VENDOR)])


def _start(effort: Effort) -> Experiment:
    job = {"subject": "start", "starts": effort.starts}
    return Experiment("start", [Cell(each, job) for each in ("bare", "alignai", "vendor")])
