"""Measure the processor time of a process that records and delivers, with the kernel's part."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .measure import latency, paced, peak_memory, texts, timed
from .recorders import recorder

if TYPE_CHECKING:
    from .measure import Figures, Job


def measure(job: Job) -> Figures:
    count = int(job["per_second"] * job["seconds"])
    taker = recorder(job)
    timed(taker.record, texts(job["size"], job["per_second"] // 10))
    before = time.process_time()
    latencies = paced(taker.record, texts(job["size"], count), job["per_second"])
    taker.close()
    spent = time.process_time() - before
    return {**latency(latencies), "cpu_us": spent / count * 1e6, "peak_memory": peak_memory()}
