"""Measure the same work on spools with more and more events pending."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .measure import event, latency, peak_memory, texts, timed

if TYPE_CHECKING:
    from alignai import AlignAI

    from .measure import Figures, Job

_MAX_BYTES = 1 << 40
_MAINTENANCE_ROWS = 5_000
_LOOK_SECONDS = 0.05


def measure(job: Job) -> Figures:
    return _STEPS[job["step"]](job, Path(job["folder"]) / "spool.db")


def _fill(job: Job, path: Path) -> Figures:
    """Append the backlog row by row, as the SDK does, but from ready bytes."""
    from alignai.spool import Spool

    spool = Spool(path, project_id="BENCH", max_bytes=_MAX_BYTES)
    payloads = [event(text) for text in texts(job["size"], 1000)]
    begin = time.perf_counter()
    for number in range(job["pending"]):
        spool.append(payloads[number % 1000])
        if number % _MAINTENANCE_ROWS == 0:
            spool.maintain()
    elapsed = time.perf_counter() - begin
    spool.close()
    os.sync()  # or the next process waits until all of it is on the disk
    return {"seconds": elapsed, "bytes_per_event": path.stat().st_size / max(1, job["pending"])}


def _append(job: Job, path: Path) -> Figures:
    """Open, append and read the figures, and measure the memory of that."""
    importlib.import_module("alignai._transport.api_client")  # `start` measures loading
    begin = time.perf_counter()
    sdk = _client(job, path, sender=False)
    create = partial(sdk.create_message, "session-1", 1, "user")
    create("the first")
    opened = time.perf_counter() - begin
    pending = sdk.stats().pending
    latencies = timed(create, texts(job["size"], job["calls"]))
    begin = time.perf_counter()
    sdk.stats()
    looked = time.perf_counter() - begin
    memory = peak_memory()
    sdk.close(0)
    return {
        **latency(latencies),
        "pending": pending,
        "open_ms": opened * 1e3,
        "stats_ms": looked * 1e3,
        "inspect_ms": _inspect(path) * 1e3,
        "peak_memory": memory,
    }


def _inspect(path: Path) -> float:
    """Return the seconds of the command, with the start of the interpreter."""
    begin = time.perf_counter()
    command = [sys.executable, "-E", "-s", "-m", "alignai.spool", "inspect", str(path), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=path.parent)
    return time.perf_counter() - begin


def _drain(job: Job, path: Path) -> Figures:
    """Upload as many events as were appended, so that the next round finds the same backlog."""
    sdk = _client(job, path, sender=True)
    before = sdk.stats()
    sent = 0
    begin = time.perf_counter()
    while sent < min(job["calls"], before.pending):
        sdk.flush(_LOOK_SECONDS)
        sent = sdk.stats().sent - before.sent
    elapsed = time.perf_counter() - begin
    memory = peak_memory()
    sdk.close(0)
    return {"rate": sent / elapsed, "pending": before.pending, "sent": sent, "peak_memory": memory}


def _client(job: Job, path: Path, *, sender: bool) -> AlignAI:
    from alignai import AlignAI, Config

    config = Config(spool_path=path, max_spool_bytes=_MAX_BYTES, sender=sender, flush_batch_size=job["batch"])
    return AlignAI("BENCH", "KEY", job["server"], config)


_STEPS = {"fill": _fill, "append": _append, "drain": _drain}
