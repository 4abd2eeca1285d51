"""States of the WAL that look like a gap, but are none, cost no event."""

from __future__ import annotations

import sqlite3
import struct
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from alignai.spool.storage import wal_repair
from alignai.spool.storage.database import Database
from alignai.spool.storage.wal.parser import WAL_HEADER_SIZE, read_header
from tests.spool.storage.wal.test_gap import EVENTS, FRAME, ZEROS, cut_off, has_gap, overwrite
from tests.support.processes import process
from tests.support.spool_file import payloads, wal
from tests.support.waiting import wait_until_verification_is_due

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alignai.spool import Spool

READER = """
import sqlite3
reader, db = sqlite3.connect(PATH, isolation_level=None), sqlite3.connect(PATH)
reader.execute('BEGIN')
reader.execute('SELECT * FROM events').fetchall()  # from here on the WAL is not restarted
busy, frames, moved = db.execute('PRAGMA wal_checkpoint').fetchone()
say(busy, frames == moved)
hear()
"""


@pytest.fixture
def recoveries(monkeypatch: pytest.MonkeyPatch) -> list[Database]:
    made: list[Database] = []
    recover = Database.recover
    monkeypatch.setattr(Database, "recover", lambda access: made.append(access) or recover(access))
    return made


def test_a_gap_in_a_wal_that_is_in_the_file_is_no_loss(spool: Spool, path: Path, recoveries: list[Database]) -> None:
    for event in EVENTS[:20]:
        spool.append(event)
    cut_off(wal(path), 100)
    for event in EVENTS[20:40]:
        spool.append(event)
    with process(READER, path) as reader:
        assert reader.hear() == "0 True"
        wait_until_verification_is_due()
        for event in EVENTS[40:60]:
            spool.append(event)
    wait_until_verification_is_due()
    spool.append(b"after")
    assert payloads(path) == [*EVENTS[:60], b"after"]
    assert (list(spool.notices()), len(recoveries)) == ([], 1)
    assert spool.check() == []


@pytest.mark.parametrize("size", [10, 3000, 4000, 9000, 200_000])
def test_a_page_that_ends_in_zeros_is_no_gap(spool: Spool, path: Path, size: int, recoveries: list[Database]) -> None:
    for number in range(40):
        spool.append(b"%d" % number + bytes(size))
        if not number % 10:
            wait_until_verification_is_due()
    spool.maintain()
    assert not has_gap(path)
    assert recoveries == []


KILLED = """
s = spool()
for number in range(40): s.append(b'event %d' % number)
say('open')
hear()
"""


def left_behind(path: Path) -> int:
    """Leave a spool as a killed process leaves it, and return the number of frames in its WAL."""
    with process(KILLED, path) as writer:
        assert writer.hear() == "open"
        writer.kill()
    return (wal(path).stat().st_size - WAL_HEADER_SIZE) // FRAME


def test_zeros_without_a_commit_behind_them_are_no_gap(
    path: Path, open_spool: Callable[..., Spool], recoveries: list[Database]
) -> None:
    end = WAL_HEADER_SIZE + left_behind(path) * FRAME
    with wal(path).open("rb") as wal_file:
        salt = read_header(wal_file.fileno()).salt
    overwrite(wal(path), end + 9 * FRAME, struct.pack(">2I", 2, 0) + salt + bytes(FRAME - 16))
    spool = open_spool()
    for event in EVENTS[:3]:
        spool.append(event)
        wait_until_verification_is_due()
    assert recoveries == []
    assert payloads(path)[-3:] == EVENTS[:3]


def test_what_a_power_cut_leaves_behind_a_gap_is_removed_once(
    path: Path, open_spool: Callable[..., Spool], recoveries: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = left_behind(path)
    overwrite(wal(path), WAL_HEADER_SIZE + (frames - 30) * FRAME, bytes(20 * FRAME))
    monkeypatch.setattr(wal_repair, "frames_beyond_damage", lambda *_: [])  # there was no room to set it aside
    spool = open_spool()
    for event in EVENTS[:30]:
        spool.append(event)
        spool.maintain()
    assert len(recoveries) == 1
    assert not has_gap(path)
    assert payloads(path)[-30:] == EVENTS[:30]
    assert spool.check() == []


def test_a_transaction_that_was_undone_is_no_gap(spool: Spool, path: Path, recoveries: list[Database]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA cache_size = 1")
        for event in EVENTS[:5]:
            other.execute("BEGIN")
            other.execute("CREATE TABLE undone (this)")
            other.execute("INSERT INTO undone VALUES (randomblob(500000))")
            wait_until_verification_is_due()
            spool.last_seq()
            other.execute("ROLLBACK")
            spool.append(event)
    assert recoveries == []


def test_a_look_while_others_write_finds_no_gap(spool: Spool, recoveries: list[Database]) -> None:
    def write(content: bytes) -> None:
        for _ in range(300):
            spool.append(content)

    writers = [threading.Thread(target=write, args=(content,)) for content in (b"small", bytes(20_000), ZEROS)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        spool.last_seq()  # looks before it reads
    assert recoveries == []
    assert spool.last_seq() == 900
