"""Measure the latency of a call that records one message, back to back or paced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .measure import latency, paced, texts, timed
from .recorders import prepare, recorder

if TYPE_CHECKING:
    from .measure import Figures, Job


def measure(job: Job) -> Figures:
    messages = list(texts(job["size"], job["calls"]))
    taker = recorder(job)
    prepare(taker, messages)
    timed(taker.record, messages[: max(1, job["calls"] // 10)], job["most_seconds"] / 10)
    if job.get("per_second"):
        latencies = paced(taker.record, messages, job["per_second"])
    else:
        latencies = timed(taker.record, messages, job["most_seconds"])
    taker.close()
    return latency(latencies, curve=True)
