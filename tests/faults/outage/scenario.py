"""
Outage: an hour without a server, by a clock that is moved, with a million events pending.

A spool is filled. The costs of opening, appending, reading and making a batch are compared with those of a nearly empty
one. A worker on it then spends the hour: it tries again and again, but not too often, and its memory does not grow.
When the server is back, everything arrives in order and once, without a flush. The worker's memory never rises far
above that of a worker with a nearly empty spool.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
import zlib
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from alignai._events import wire
from alignai.spool import Spool
from alignai.spool.ledger import sql
from tests.faults.network.delivery import parsed
from tests.faults.network.scenario import sound
from tests.faults.network.worker import SCRIPT, recording
from tests.support.clients import PROJECT
from tests.support.servers.raw import OK, RawServer, reset
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.faults.network.worker import RemoteWorker
    from tests.faults.scenario import Run, Trial

ROWS = 1_000_000
FEW = 5_000
STEPS = 60
HOUR = 3600
MAX_SLOWDOWN = 5.0
"""The maximum factor between the costs. They should be equal, but the machine may be busy."""

NOISE = 0.002
"""Seconds below which costs are not compared."""

MAX_MEMORY = 24 << 20
"""Bytes that the worker may need more than one with very few events."""

MOVED_CLOCK = """
import time
ahead = 0.0
monotonic, wall = time.monotonic, time.time
time.monotonic = lambda: monotonic() + ahead
time.time = lambda: wall() + ahead
from tests.faults.network import worker as network_worker
def forward(self, seconds):
    global ahead
    ahead += seconds
network_worker.Recorder.forward = forward
"""


class Counting:
    """A server that resets connections until it is `up`, and then counts events that arrive in order."""

    def __init__(self) -> None:
        self.up = False
        self.arrived = 0
        self.astray: list[str] = []

    def serve(self, conn: socket.socket, request: bytes, n: int) -> None:
        """Answer one request."""
        if not self.up:
            reset(conn, request, n)
            return
        for event_id, _ in parsed(request).events:
            if event_id == str(self.arrived + 1):
                self.arrived += 1
            else:
                self.astray.append(event_id)
        conn.sendall(OK)


def run(run: Run) -> None:
    """Run one outage after the other until the time is used up."""
    for trial in run.trials():
        one_trial(run, trial, ROWS, STEPS)


def one_trial(run: Run, trial: Trial, rows: int, steps: int) -> None:
    """Fill a spool with *rows* events, spend an hour in *steps* steps, and drain it."""
    with tempfile.TemporaryDirectory() as folder:
        full, few = Path(folder, "full.db"), Path(folder, "few.db")
        fill(full, rows)
        fill(few, FEW)
        compared(trial, few, full)
        usual = outage(run, trial, few, 1)
        peak = outage(run, trial, full, steps)
        run.count(rows=rows)
        print(f"  most memory {usual >> 10:8,} KiB with few events, {peak >> 10:8,} KiB with all", flush=True)
        trial.check(f"the memory is that of a batch, not {peak - usual:,} bytes more", holds=peak - usual < MAX_MEMORY)
        sound(trial, full)


def outage(run: Run, trial: Trial, path: Path, steps: int) -> int:
    """Spend the hour, drain, and return the maximum memory of the worker."""
    server = Counting()
    config = {"flush_batch_size": 500, "sent_retention_seconds": 0, "max_spool_bytes": 8 << 30}
    log = path.with_suffix(".log")
    with (
        RawServer(server.serve) as raw,
        log.open("w") as sink,
        recording(raw.url, path, sink, script=MOVED_CLOCK + SCRIPT, **config) as worker,
    ):
        rows = sum(worker.call("stats")[state] for state in ("pending", "in_flight"))
        rows += endured(run, trial, worker, raw, rows, steps)
        server.up = True
        began = time.monotonic()
        worker.call("forward", 60)
        wait_until(lambda: server.arrived == rows or server.astray, 60 + rows / 500)
        run.count(milliseconds_of_draining=round((time.monotonic() - began) * 1000))
        trial.check(f"all arrives in order and once, not {server.astray[:5]}", holds=not server.astray)
        peak: int = worker.call("resources")["peak_memory"]
        trial.check("the worker ends well", holds=worker.end() == 0)
    trial.check(f"no error is logged: {log.read_text()}", holds="ERROR" not in log.read_text())
    return peak


def endured(run: Run, trial: Trial, worker: RemoteWorker, raw: RawServer, rows: int, steps: int) -> int:
    """Spend an hour without a server and return the number of events recorded in it."""
    recorded = 0
    memory = worker.call("resources")["memory"]
    for _ in range(steps):
        tried = raw.connections
        recorded += len(worker.call("record", rows + recorded + 1, 10))
        worker.call("forward", HOUR / steps)
        # It does not happen if the last attempt was in progress when the clock moved: its wait begins only now.
        _soon(lambda tried=tried: raw.connections > tried)  # type: ignore[misc]
    more = worker.call("resources")["memory"] - memory
    trial.check(f"memory does not grow in an outage, by {more:,} bytes", holds=more < MAX_MEMORY)
    trial.check("the worker tries again and again", holds=raw.connections >= steps // 2)
    trial.check(f"it is not tried too often: {raw.connections} times", holds=raw.connections <= 4 * steps + 10)
    run.count(attempts=raw.connections)
    return recorded


def _soon(happened: Callable[[], bool]) -> None:
    """Wait until it has happened, but at most a second."""
    end = time.monotonic() + 1
    while not happened() and time.monotonic() < end:
        time.sleep(0.005)


def compared(trial: Trial, few: Path, full: Path) -> None:
    """Compare the costs of a full spool with those of one with few events."""
    costs = [_costs(path) for path in (few, full)]
    for name, cost in costs[1].items():
        before = costs[0][name]
        print(f"  {name:10} {before * 1e6:8,.0f} µs with few events, {cost * 1e6:8,.0f} µs with all")
        promise = f"{name} takes as long as ever, not {cost * 1e6:.0f} µs instead of {before * 1e6:.0f}"
        trial.check(promise, holds=cost <= max(NOISE, MAX_SLOWDOWN * before))


def _costs(path: Path) -> dict[str, float]:
    """Return the median seconds of each operation."""

    def opened() -> None:
        Spool(path, project_id=PROJECT).close()

    def tried() -> None:
        batch = spool.next_batch(50, 1 << 20)
        assert batch
        spool.mark_failed(batch, "there is no server")

    costs = {"open": _median(opened, 5)}
    spool = Spool(path, project_id=PROJECT, max_bytes=8 << 30)
    numbers = count(spool.last_seq() + 1)
    costs["append"] = _median(lambda: spool.append(payload(next(numbers))), 200)
    costs["stats"] = _median(spool.stats, 100)
    costs["backlog"] = _median(spool.backlog, 100)
    costs["next_batch"] = _median(tried, 50)
    costs["maintain"] = _median(spool.maintain, 5)
    spool.close()
    return costs


def _median(operation: Callable[[], object], times: int) -> float:
    return statistics.median(_seconds(operation) for _ in range(times))


def _seconds(operation: Callable[[], object]) -> float:
    began = time.perf_counter()
    operation()
    return time.perf_counter() - began


def payload(number: int) -> bytes:
    """Return an event whose id is its number."""
    return _PATTERN.replace(b"NUMBER", str(number).encode())


_PATTERN = wire.encode(
    wire.build(
        "create_message",
        {"session_id": "s1", "message_index": 1, "role": "user", "content": "There is an outage, is there not?"},
        project_id=PROJECT,
        event_id="NUMBER",
        now=datetime.now(UTC),
    )
)


def fill(path: Path, rows: int) -> None:
    """Fill a spool with *rows* events faster than `append` can."""
    Spool(path, project_id=PROJECT).close()
    now = time.time()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        payloads = (payload(number) for number in range(1, rows + 1))
        db.executemany(sql.APPEND, ((now, zlib.crc32(each), each) for each in payloads))
        db.execute("COMMIT")
