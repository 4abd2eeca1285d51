"""Contents, clocks and figures of all subjects, by the standard library only, since it runs in every environment."""

from __future__ import annotations

import json
import math
import random
import resource
import time
import uuid
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Job = dict[str, Any]
Figures = dict[str, Any]

_CHARACTERS = 500_000
"""Characters of all different messages together, more than compression looks back."""

_CURVE_POINTS = 6
"""Points of a latency curve for each factor of ten in the share of slower calls."""


def texts(size: int, count: int) -> Iterable[str]:
    """Return *count* messages of exactly *size* characters, similar to English, and the same ones in every run."""
    source = random.Random(size)
    words = ["".join(source.choices("etaoinshrdlucmfwypvbgk", k=source.randint(2, 9))) for _ in range(400)]
    different = min(count, max(8, _CHARACTERS // size))
    made = [" ".join(source.choices(words, k=size // 3 + 1))[:size] for _ in range(different)]
    return islice(cycle(made), count)


def event(text: str) -> bytes:
    """Return a message event as the spool stores it, for the queues that take bytes."""
    content = {
        "id": uuid.uuid4().hex,
        "type": "message_create",
        "createTime": "2026-01-01T00:00:00.000000Z",
        "properties": {
            "messageProperties": {
                "sessionId": "session-1",
                "messageIndexHint": 1,
                "messageRole": "ROLE_USER",
                "messageContent": text,
            }
        },
        "projectId": "BENCH",
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def timed(record: Callable[[str], object], messages: Iterable[str], seconds: float = math.inf) -> list[int]:
    """Return the nanoseconds of each call, back to back, until the messages or *seconds* are used up."""
    now = time.perf_counter_ns
    latencies = []
    end = now() + seconds * 1e9
    for message in messages:
        begin = now()
        if begin > end:
            break
        record(message)
        latencies.append(now() - begin)
    return latencies


def paced(record: Callable[[str], object], messages: Iterable[str], per_second: float) -> list[int]:
    """Return the nanoseconds of each call, at *per_second* calls a second. A late call is made at once."""
    now = time.perf_counter_ns
    latencies = []
    start = now()
    for index, message in enumerate(messages):
        early = start + index * 1e9 / per_second - now()
        if early > 0:
            time.sleep(early / 1e9)
        begin = now()
        record(message)
        latencies.append(now() - begin)
    return latencies


def latency(nanoseconds: Sequence[int], *, curve: bool = False) -> Figures:
    """Return the figures of *nanoseconds*, in microseconds, with the curve for the plot if *curve* is set."""
    ordered = sorted(nanoseconds)
    figures: Figures = {
        "calls": len(ordered),
        "p50": quantile(ordered, 0.5),
        "p99": quantile(ordered, 0.99),
        "p99.9": quantile(ordered, 0.999),
        "max": ordered[-1] / 1e3,
        "mean": round(sum(ordered) / len(ordered) / 1e3, 2),
    }
    if curve:
        steps = range(_CURVE_POINTS * len(str(len(ordered))))
        tails = [10 ** (-step / _CURVE_POINTS) for step in steps]
        figures["curve"] = [[tail, quantile(ordered, 1 - tail)] for tail in tails if tail * len(ordered) >= 1]
    return figures


def quantile(ordered: Sequence[int], fraction: float) -> float:
    """Return the least value that *fraction* of the values do not exceed, in microseconds, from nanoseconds."""
    return ordered[max(1, math.ceil(fraction * len(ordered))) - 1] / 1e3


def peak_memory() -> int:
    """Return the most bytes that this process has held in memory."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status(name: str) -> int:
    """Return a figure of Linux. `ru_maxrss` is the fallback, since on Linux a process inherits that from its parent."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
