"""Measure many threads of one process that record at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import TYPE_CHECKING

from .measure import latency, texts, timed
from .recorders import prepare, recorder

if TYPE_CHECKING:
    from .measure import Figures, Job


def measure(job: Job) -> Figures:
    messages = list(texts(job["size"], 64))
    taker = recorder(job)
    prepare(taker, messages)
    timed(taker.record, messages)
    ready = threading.Barrier(job["threads"] + 1)

    def work() -> list[int]:
        ready.wait()
        return timed(taker.record, cycle(messages), job["seconds"])

    with ThreadPoolExecutor(job["threads"]) as pool:
        working = [pool.submit(work) for _ in range(job["threads"])]
        ready.wait()
        begin = time.perf_counter()
        latencies = [each for work_done in working for each in work_done.result()]
        elapsed = time.perf_counter() - begin
    taker.close()
    return {**latency(latencies), "rate": len(latencies) / elapsed}
