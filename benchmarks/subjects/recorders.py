"""The contestants under one interface: both versions of alignai, the other queues and the limits."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .measure import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from .measure import Job

_UNBOUNDED = 10**9
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Recorder:
    """A contestant: `record` takes a message, and `close` ends it and raises if it lost an event that it should not."""

    record: Callable[[str], object]
    close: Callable[[], object]


def recorder(job: Job) -> Recorder:
    """Return the contestant that *job* names, in the job's folder."""
    return _RECORDERS[job["contestant"]](job)


def _alignai(job: Job, synchronous: Literal["normal", "full"], *, sender: bool) -> Recorder:
    from alignai import AlignAI, Config

    config = Config(spool_path=Path(job["folder"]) / "spool.db", synchronous=synchronous, sender=sender)
    sdk = AlignAI("BENCH", "KEY", job["server"], config)
    create = sdk.create_message

    def close() -> None:
        if sender and job.get("drains", True) and not sdk.flush(120):
            raise RuntimeError("not everything was uploaded")
        sdk.close(0)

    return Recorder(lambda text: create("session-1", 1, "user", text), close)


def _vendor(job: Job, **settings: int) -> Recorder:
    config = import_module("alignai.config").Config(**settings)
    sdk = import_module("alignai").AlignAI("BENCH", "KEY", job["server"], config)
    create = sdk.create_message
    return Recorder(lambda text: create("session-1", 1, "user", text), partial(sdk.close, 120))


def _spool(job: Job, synchronous: str) -> Recorder:
    from alignai.spool import Spool

    spool = Spool(Path(job["folder"]) / "spool.db", project_id="BENCH", synchronous=synchronous)
    return _of_bytes(spool.append, spool.close)


def _of_bytes(put: Callable[[bytes], object], close: Callable[[], object]) -> Recorder:
    """Return a queue of bytes. Its events are made before the clock runs, since JSON is not part of a queue."""
    made: dict[str, bytes] = {}

    def prepare(text: str) -> bytes:
        return made.setdefault(text, event(text))

    return _Prepared(lambda text: put(made[text]), close, prepare)


@dataclass(frozen=True)
class _Prepared(Recorder):
    prepare: Callable[[str], bytes]


def prepare(taker: Recorder, messages: list[str]) -> None:
    """Make the events that would otherwise be made within the measured time."""
    if isinstance(taker, _Prepared):
        for message in messages:
            taker.prepare(message)


def _persist_queue(job: Job) -> Recorder:
    from persistqueue import SQLiteAckQueue

    queue = SQLiteAckQueue(job["folder"], auto_commit=True)
    return _of_bytes(queue.put, queue.close)


def _diskcache(job: Job) -> Recorder:
    from diskcache import Deque

    deque = Deque(directory=job["folder"])
    return _of_bytes(deque.append, deque.cache.close)


def _litequeue(job: Job) -> Recorder:
    from litequeue import LiteQueue

    queue = LiteQueue(str(Path(job["folder"]) / "queue.db"))
    return _of_bytes(queue.put, queue.conn.close)


def _huey(job: Job) -> Recorder:
    from huey.storage import SqliteStorage

    storage = SqliteStorage(filename=str(Path(job["folder"]) / "huey.db"))
    return _of_bytes(storage.enqueue, storage.close)


def _sqlite(job: Job) -> Recorder:
    """Return the cheapest committed row from Python, a limit."""
    connection = sqlite3.connect(Path(job["folder"]) / "limit.db", isolation_level=None, timeout=60)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, payload BLOB)")
    insert = partial(connection.execute, "INSERT INTO events (payload) VALUES (?)")
    return _of_bytes(lambda payload: insert((payload,)), connection.close)


def _write_and_sync(job: Job) -> Recorder:
    """Return the cheapest bytes on stable storage, a limit."""
    file = os.open(Path(job["folder"]) / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def put(payload: bytes) -> None:
        os.write(file, payload)
        os.fdatasync(file)

    return _of_bytes(put, partial(os.close, file))


_RECORDERS: dict[str, Callable[[Job], Recorder]] = {
    "nothing": lambda _: Recorder(lambda _: None, lambda: None),
    "alignai": partial(_alignai, synchronous="normal", sender=False),
    "alignai full": partial(_alignai, synchronous="full", sender=False),
    "alignai sending": partial(_alignai, synchronous="normal", sender=True),
    "alignai full sending": partial(_alignai, synchronous="full", sender=True),
    "vendor": partial(_vendor, max_buffer_size=_UNBOUNDED, flush_interval_ms=_HOUR_MS),
    "vendor sending": _vendor,
    "Spool.append": partial(_spool, synchronous="normal"),
    "Spool.append full": partial(_spool, synchronous="full"),
    "persist-queue": _persist_queue,
    "diskcache": _diskcache,
    "litequeue": _litequeue,
    "huey": _huey,
    "SQLite insert": _sqlite,
    "write+fdatasync": _write_and_sync,
}
