"""Measure many processes that record into one spool at once."""

from __future__ import annotations

import importlib
import multiprocessing
import time
from array import array
from itertools import cycle, islice
from typing import TYPE_CHECKING

from .measure import latency, paced, texts, timed
from .recorders import prepare, recorder

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from .measure import Figures, Job

_START_SECONDS = 60


def measure(job: Job) -> Figures:
    if job["contestant"].startswith("alignai"):
        importlib.import_module("alignai")  # as the parent of a prefork server does
    else:
        recorder(job).close()  # SQLite does not wait if several processes switch to WAL at once
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(job["processes"] + 1)
    pipes = [context.Pipe(duplex=False) for _ in range(job["processes"])]
    workers = [
        context.Process(target=_work, args=(job, index, ready, result)) for index, (_, result) in enumerate(pipes)
    ]
    for worker, (_, result) in zip(workers, pipes, strict=True):
        worker.start()
        result.close()  # or a dead worker would be waited for
    ready.wait(_START_SECONDS)
    begin = time.perf_counter()
    latencies = [array("q", received.recv_bytes()) for received, _ in pipes]
    elapsed = time.perf_counter() - begin
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"exit codes {[worker.exitcode for worker in workers]}")
    together = [each for of_one in latencies for each in of_one]
    return {**latency(together, curve=True), "rate": len(together) / elapsed}


def _work(job: Job, index: int, ready: Barrier, result: Connection) -> None:
    messages = list(texts(job["size"], 64))
    taker = recorder({**job, "drains": False})
    prepare(taker, messages)
    timed(taker.record, messages)
    ready.wait(_START_SECONDS)
    if job.get("per_second"):
        count = int(job["per_second"] * job["seconds"])
        time.sleep(index / job["processes"] / job["per_second"])  # or all workers would call at the same moments
        latencies = paced(taker.record, islice(cycle(messages), count), job["per_second"])
    else:
        latencies = timed(taker.record, cycle(messages), job["seconds"])
    result.send_bytes(array("q", latencies).tobytes())
    taker.close()
