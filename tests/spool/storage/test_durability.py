"""Further conditions for an event to survive: names on stable storage, locks that no close drops, synced rows."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from alignai.spool.storage import connections, files
from alignai.spool.storage.files import create_private
from alignai.spool.storage.limits import Limits
from alignai.spool.storage.redo import RedoBuffer
from tests.support.processes import process, run
from tests.support.spool_file import payloads, wal
from tests.support.waiting import wait_until_verification_is_due

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from alignai.spool import Spool


def test_the_names_of_new_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    create_private(tmp_path / "new" / "newer" / "spool.db")
    assert synced == [tmp_path, tmp_path / "new", tmp_path / "new" / "newer"]


LOCKS = """
import sqlite3
try: sqlite3.connect(PATH, isolation_level=None, timeout=0).execute('BEGIN EXCLUSIVE'); say('free')
except sqlite3.OperationalError as error: say(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file cannot be made without opening it")
def test_making_a_file_drops_no_lock_of_a_thread_that_is_faster(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[sqlite3.Connection] = []

    def lock() -> None:
        if path.exists() and not connections:
            connections.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
            connections[0].execute("BEGIN EXCLUSIVE")

    def then_lock(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **kwargs: Any) -> Any:
            result = make(*args, **kwargs)
            thread = threading.Thread(target=lock)
            thread.start()
            thread.join(10)
            return result

        return made

    for name in ("mknod", "open", "fchmod"):
        monkeypatch.setattr(os, name, then_lock(getattr(os, name)))
    create_private(path)
    monkeypatch.undo()
    assert run(LOCKS, path) == "database is locked"
    connections[0].close()


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []
    monkeypatch.setattr(connections, "sync_wal", seen.append)
    return seen


def test_rows_of_a_killed_process_are_synced_by_one_that_was_there_before(
    spool: Spool, path: Path, syncs: list[Path]
) -> None:
    spool.append(b"event")
    spool.maintain()
    spool.maintain()
    assert syncs == [wal(path)]
    with process("s = spool()\nhear()\ns.append(b'theirs')\nsay('done')\nhear()", path) as other:
        assert other.ask() == "done"
        other.kill()
    spool.maintain()
    spool.maintain()
    assert syncs == [wal(path)] * 2


def test_damage_that_a_checkpoint_meets_for_a_moment_costs_nothing(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
    failures = [error]
    checkpoint = connections.Connections.checkpoint

    def fails_once(self: connections.Connections) -> None:
        if failures:
            raise failures.pop()
        checkpoint(self)

    spool.append(b"event")
    monkeypatch.setattr(connections.Connections, "checkpoint", fails_once)
    monkeypatch.setattr(Limits, "wal_soft_limit", 0)
    wait_until_verification_is_due()
    assert spool.append(b"more") == 2
    assert not failures
    assert payloads(path) == [b"event", b"more"]
    assert list(spool.notices()) == []


class Interruption(BaseException):
    """The exception of a signal handler."""


@pytest.mark.parametrize("line", range(9))
def test_acknowledged_rows_are_kept_if_bookkeeping_is_interrupted(line: int) -> None:
    recent = RedoBuffer()
    rows = [(number, (0.0, 0, b"event")) for number in range(1, 4)]
    recent.unverified += rows[:2]
    recent.verified(1 << 20)
    recent.unverified += rows[2:]
    seen = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        if frame.f_code.co_name != "verified":
            return None
        if event == "line":
            seen += 1
            if seen > line:
                raise Interruption
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(Interruption):
            recent.verified(1 << 20)
    finally:
        sys.settrace(before)
    assert sorted(set(recent.rows())) == rows
    recent.verified(1 << 20)
    assert sorted(set(recent.rows())) == rows
