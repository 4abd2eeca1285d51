"""Measure the parts of a committed event alone, and the least that they can cost."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .measure import event, latency, texts, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .measure import Figures, Job

    Part = Callable[[str], object]

_PAGE = 4096
_FRAME_HEADER_SIZE = 24


def measure(job: Job) -> Figures:
    messages = list(texts(job["size"], job["calls"]))
    part = _PARTS[job["contestant"]](Path(job["folder"]))
    timed(part, messages[: job["calls"] // 10])
    return latency(timed(part, messages))


def _check_and_encode(_: Path) -> Part:
    from alignai._events.encoder import EventEncoder
    from alignai.constants import MAX_EVENT_BYTES

    optional = dict.fromkeys(["custom_properties", "create_time", "event_id"])
    encode = EventEncoder("BENCH", None, MAX_EVENT_BYTES).encode
    common = {"session_id": "session-1", "message_index": 1, "role": "user", **optional}
    return lambda text: encode("create_message", {**common, "content": text})


def _insert(folder: Path, *, keeps_read_lock: bool = False, locks: bool = True) -> Part:
    """Insert a row of a spool into a table of a spool, without checkpoints."""
    connection = sqlite3.connect(folder / "parts.db", isolation_level=None)
    connection.execute(f"PRAGMA locking_mode = {'NORMAL' if locks else 'EXCLUSIVE'}")
    for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 0"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(
        "CREATE TABLE events (seq INTEGER PRIMARY KEY, at REAL NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL)"
    )
    statement = "INSERT INTO events (at, crc, payload) VALUES (?, ?, ?)"
    payload = event("." * 256)
    # A query that is not read to its end keeps SQLite's read lock across commits, as long as its cursor exists.
    cursor = connection.execute("SELECT name FROM sqlite_schema UNION ALL SELECT 1 UNION ALL SELECT 2")
    if not keeps_read_lock:
        cursor.close()
    cursors = [cursor, connection.cursor()]
    return lambda _: cursors[1].execute(statement, (1.5, 1 << 31, payload))


def _two_writes(folder: Path) -> Part:
    """Write as SQLite writes a page to the WAL: the header of the frame, then the page."""
    file = os.open(folder / "log", os.O_RDWR | os.O_CREAT, 0o600)
    end = 0

    def write(_: str) -> None:
        nonlocal end
        os.pwrite(file, bytes(_FRAME_HEADER_SIZE), end)
        os.pwrite(file, bytes(_PAGE), end + _FRAME_HEADER_SIZE)
        end += _FRAME_HEADER_SIZE + _PAGE

    return write


def _six_locks(folder: Path) -> Part:
    """Take and release a lock three times, as SQLite does for a commit to the WAL."""
    file = os.open(folder / "locks", os.O_RDWR | os.O_CREAT, 0o600)

    def lock(_: str) -> None:
        for _ in range(3):
            fcntl.lockf(file, fcntl.LOCK_EX, 1, 120)
            fcntl.lockf(file, fcntl.LOCK_UN, 1, 120)

    return lock


_PARTS: dict[str, Callable[[Path], Part]] = {
    "check and encode": _check_and_encode,
    "insert": _insert,
    "insert, read lock kept": partial(_insert, keeps_read_lock=True),
    "insert, no locks": partial(_insert, locks=False),
    "two writes": _two_writes,
    "six locks": _six_locks,
}
