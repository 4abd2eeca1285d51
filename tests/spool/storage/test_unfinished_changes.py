"""The next process that opens a spool completes or undoes changes that a power cut or a kill left unfinished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alignai.spool import SpoolError
from alignai.spool.storage import connections
from alignai.spool.storage.paths import journal_of
from tests.support.processes import run
from tests.support.spool_file import wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alignai.spool import Spool

CUT_SHORT = """
import sqlite3
db = sqlite3.connect(PATH, isolation_level=None)
db.execute('PRAGMA cache_size = 1')
db.execute('BEGIN')
db.execute('CREATE TABLE half (done)')
db.execute('INSERT INTO half VALUES (randomblob(100000))')
os._exit(0)
"""

DIES = "spool().append(b'event'); os._exit(0)"


def test_a_file_half_created_at_a_power_cut_is_created_again(path: Path, open_spool: Callable[..., Spool]) -> None:
    run(CUT_SHORT, path)
    assert journal_of(path).exists()
    assert path.stat().st_size > 0
    spool = open_spool()
    assert spool.append(b"event") == 1
    assert [*spool.notices()] == spool.check() == []


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []
    monkeypatch.setattr(connections, "sync_wal", seen.append)
    return seen


def test_writes_that_a_dead_process_did_not_sync_are_synced_by_the_next(
    path: Path, open_spool: Callable[..., Spool], syncs: list[Path]
) -> None:
    run(DIES, path)
    spool = open_spool()
    spool.maintain()
    spool.maintain()
    assert syncs == [wal(path)]


def test_a_sync_that_failed_is_tried_again(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append(b"event")
    tries: list[Path] = []

    def sync(file: Path) -> None:
        tries.append(file)
        if len(tries) == 1:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(connections, "sync_wal", sync)
    with pytest.raises(SpoolError, match="Input/output error"):
        spool.maintain()
    spool.maintain()
    assert len(tries) == 2
