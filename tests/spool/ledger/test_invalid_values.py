"""Invalid values in the ledger. No checksum covers it, and SQLite stores any value in any column."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolCorruptError
from tests.support.spool_file import ask, quarantined

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MUCH = 1 << 20
PENDING = [b"event %d" % number for number in range(15, 20)]


@pytest.fixture
def filled(path: Path) -> Path:
    """A closed spool with sent, open and pending events."""
    spool = Spool(path, project_id="project")
    for number in range(20):
        spool.append(b"event %d" % number)
    for _ in range(2):
        batch = spool.next_batch(5, MUCH)
        assert batch
        spool.mark_sent(batch)
    batch = spool.next_batch(5, MUCH)
    assert batch
    spool.mark_failed(batch, "no answer")
    spool.close()
    return path


def again(call: Callable[[], object]) -> None:
    """Call as a sender does: the call that finds a corrupt file quarantines it, and the next one succeeds."""
    for _ in range(2):
        with suppress(SpoolCorruptError):
            call()
            return
    call()


def lives(spool: Spool) -> list[bytes]:
    """Do everything that a worker does and return the sent events."""
    sent: list[bytes] = []

    def send() -> None:
        while batch := spool.next_batch(10, MUCH):
            spool.mark_sent(batch)
            sent.extend(batch.payloads)

    for call in (spool.backlog, spool.stats, spool.totals, send, spool.maintain):
        again(call)
    spool.append(b"new")
    again(send)
    assert spool.check() == []
    return sent


def write(path: Path, statement: str) -> None:
    """Write a value that no spool writes and that SQLite would refuse."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE batches SET last = 'x' WHERE state = 'open'",
        "UPDATE batches SET last = 9223372036854775807 WHERE state = 'open'",
        "UPDATE batches SET last = 1000000000000 WHERE state = 'open'",
        "UPDATE batches SET attempts = 'x' WHERE state = 'open'",
        "UPDATE batches SET deaths = x'00' WHERE state = 'open'",
        "UPDATE batches SET settled_at = 'x' WHERE state = 'sent'",
        "UPDATE batches SET settled_at = NULL WHERE state = 'sent'",
        "UPDATE batches SET request_id = CAST(x'ff' AS TEXT) || substr(request_id, 2) WHERE state = 'open'",
        "UPDATE batches SET request_id = 'X' || substr(request_id, 2) WHERE state = 'open'",
        "UPDATE batches SET request_id = '' WHERE state = 'open'",
        "UPDATE batches SET request_id = ' ' WHERE state = 'open'",
        "UPDATE batches SET request_id = request_id || char(0) WHERE state = 'open'",
        "UPDATE batches SET request_id = request_id || char(10) WHERE state = 'open'",
        "UPDATE batches SET first = 0 WHERE state = 'open'",
        "UPDATE batches SET first = -5, last = -1 WHERE state = 'open'",
        "UPDATE batches SET events = 0, last = first - 1 WHERE state = 'open'",
        "UPDATE spool SET sent = 'x'",
        "UPDATE spool SET flush_to = x'00'",
        "DELETE FROM spool",
    ],
)
def test_a_file_with_an_invalid_ledger_is_quarantined(
    filled: Path, open_spool: Callable[..., Spool], statement: str
) -> None:
    write(filled, statement)
    spool = open_spool()

    assert lives(spool)[-1:] == [b"new"]
    (kept,) = quarantined(filled)
    (notice,) = spool.notices()
    assert str(kept) in notice


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE batches SET state = 'x', settled_at = 0.0 WHERE state = 'open'",
        "UPDATE batches SET last = 1000 WHERE first = 1",
        "UPDATE batches SET last = 12 WHERE first = 6",
    ],
)
def test_a_ledger_that_makes_no_sense_deletes_no_event(
    filled: Path, open_spool: Callable[..., Spool], statement: str
) -> None:
    write(filled, statement)
    spool = open_spool(retention=0)
    again(spool.maintain)

    (kept,) = quarantined(filled)
    assert ask(kept, "SELECT count(*) FROM events WHERE payload <> x''") == [(20,)]
    (notice,) = spool.notices()
    assert str(kept) in notice


def test_newest_rows_that_vanish_beside_a_running_worker_are_damage(
    filled: Path, open_spool: Callable[..., Spool]
) -> None:
    spool = open_spool()
    write(filled, "UPDATE batches SET last = 1000 WHERE state = 'open'")
    with suppress(SpoolCorruptError):
        spool.next_batch(10, MUCH)
    spool.append(b"new")
    batch = spool.next_batch(10, MUCH)
    assert batch
    assert batch.payloads == (b"new",)
    assert len(quarantined(filled)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET at = 'x'",
        "UPDATE spool SET last_error = CAST(x'ff6f' AS TEXT)",
        "UPDATE spool SET lease_host = CAST(x'ff6f' AS TEXT)",
    ],
)
def test_an_invalid_value_that_nothing_depends_on_stops_nothing(
    filled: Path, open_spool: Callable[..., Spool], statement: str
) -> None:
    write(filled, statement)
    spool = open_spool()

    assert lives(spool)[-6:] == [*PENDING, b"new"]
    assert quarantined(filled) == []
    assert list(spool.notices()) == []


def test_a_damaged_checksum_costs_the_event_alone(filled: Path, open_spool: Callable[..., Spool]) -> None:
    ask(filled, "UPDATE events SET crc = 'x' WHERE seq = 17")
    spool = open_spool()
    sent = []
    while batch := spool.next_batch(10, MUCH):
        spool.mark_sent(batch)
        sent += batch.payloads

    assert sent[-4:] == [b"event 15", b"event 17", b"event 18", b"event 19"]
    assert spool.stats().rejected == 1
    assert spool.check() == []
