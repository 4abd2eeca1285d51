"""Measure events a second from a backlog to a server."""

from __future__ import annotations

import gzip
import http.client
import json
import time
import uuid
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import urlopen

from .measure import event, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from .measure import Figures, Job

_PATH = "/ingestion.v1alpha.IngestionService/CollectEvents"
_HEADERS = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Authorization": "Bearer KEY"}
_LEVEL = 1  # as in alignai._transport.compression
_LONG = 600


def measure(job: Job) -> Figures:
    drain = _DRAINS[job["contestant"]](job)
    before = _received(job["server"])
    begin = time.perf_counter()
    drain()
    elapsed = time.perf_counter() - begin
    after = _received(job["server"])
    requests = after["requests"] - before["requests"]
    if not requests:
        raise RuntimeError("the server has received nothing")
    return {
        "rate": job["events"] / elapsed,
        "requests": requests,
        "bytes_per_event": (after["bytes"] - before["bytes"]) / job["events"],
    }


def _received(server: str) -> dict[str, int]:
    with urlopen(server) as answer:
        received: dict[str, int] = json.load(answer)
        return received


def _alignai(job: Job) -> Callable[[], None]:
    from alignai import AlignAI, Config

    path = Path(job["folder"]) / "spool.db"
    with AlignAI("BENCH", "KEY", job["server"], Config(spool_path=path, sender=False)) as sdk:
        for text in texts(job["size"], job["events"]):
            sdk.create_message("session-1", 1, "user", text)
    sender = AlignAI("BENCH", "KEY", job["server"], Config(spool_path=path, flush_batch_size=job["batch"]))

    def drain() -> None:
        result = sender.flush(_LONG)
        if result.sent != job["events"]:
            raise RuntimeError(f"{result.sent} of {job['events']} events were sent")

    return drain


def _vendor(job: Job) -> Callable[[], None]:
    unbounded = {"max_buffer_size": 10**9, "flush_interval_ms": 3_600_000}
    config = import_module("alignai.config").Config(flush_batch_size=job["batch"], **unbounded)
    sdk = import_module("alignai").AlignAI("BENCH", "KEY", job["server"], config)
    for text in texts(job["size"], job["events"]):
        sdk.create_message("session-1", 1, "user", text)

    def drain() -> None:
        sdk.flush(_LONG)
        if sdk.buffer_storage.buffer_size:
            raise RuntimeError("not everything was sent")

    return drain


def _bodies(job: Job) -> list[bytes]:
    """Make the bodies that this package would send, before the clock runs."""
    events = [event(text) for text in texts(job["size"], job["events"])]
    batches = [events[start : start + job["batch"]] for start in range(0, len(events), job["batch"])]
    return [
        gzip.compress(b'{"requestId":"%s","events":[%s]}' % (uuid.uuid4().hex.encode(), b",".join(batch)), _LEVEL)
        for batch in batches
    ]


def _requests(job: Job) -> Callable[[], None]:
    import requests

    bodies = _bodies(job)
    session = requests.Session()

    def drain() -> None:
        for body in bodies:
            session.post(job["server"] + _PATH, data=body, headers=_HEADERS, timeout=10).raise_for_status()

    return drain


def _http_client(job: Job) -> Callable[[], None]:
    bodies = _bodies(job)
    connection = http.client.HTTPConnection(urlsplit(job["server"]).netloc)

    def drain() -> None:
        for body in bodies:
            connection.request("POST", _PATH, body, _HEADERS)
            connection.getresponse().read()

    return drain


_DRAINS: dict[str, Callable[[Job], Callable[[], None]]] = {
    "alignai": _alignai,
    "vendor": _vendor,
    "requests.post": _requests,
    "http.client": _http_client,
}
