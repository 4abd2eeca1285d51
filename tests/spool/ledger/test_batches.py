"""The states of events and batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from alignai.spool.ledger.transitions import DAMAGED
from tests.support.processes import run
from tests.support.spool_file import ask, payloads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alignai.spool import Batch, Spool

MUCH = 1 << 20


def fill(spool: Spool, events: int, size: int = 0) -> list[bytes]:
    filled = [b"%d" % i + b" " * size for i in range(events)]
    for event in filled:
        spool.append(event)
    return filled


def batch_of(spool: Spool, max_events: int = 100) -> Batch:
    batch = spool.next_batch(max_events, MUCH)
    assert batch
    return batch


def drain(spool: Spool, max_events: int = 100) -> list[bytes]:
    sent: list[bytes] = []
    while batch := spool.next_batch(max_events, MUCH):
        sent += batch.payloads
        spool.mark_sent(batch)
    return sent


# -- batches -----------------------------------------------------------------------------------------------------------


def test_an_empty_spool_has_no_batch(spool: Spool) -> None:
    assert spool.next_batch(10, MUCH) is None
    assert spool.check() == []


def test_a_batch_holds_no_more_events_than_asked_for_and_the_oldest_first(spool: Spool) -> None:
    events = fill(spool, 25)
    sizes = []
    sent: list[bytes] = []
    while batch := spool.next_batch(10, MUCH):
        sizes.append(len(batch))
        sent += batch.payloads
        spool.mark_sent(batch)

    assert sizes == [10, 10, 5]
    assert sent == events
    assert spool.check() == []


def test_a_batch_holds_no_more_bytes_than_asked_for(spool: Spool) -> None:
    for _ in range(10):
        spool.append(b"." * 100)
    batch = spool.next_batch(10, 350)

    assert batch
    assert (len(batch), batch.size, batch.first, batch.last) == (3, 300, 1, 3)
    assert spool.check() == []


def test_an_event_above_the_bytes_asked_for_travels_alone(spool: Spool) -> None:
    for size in (10, 1000, 10):
        spool.append(b"." * size)
    sizes = []
    while batch := spool.next_batch(10, 100):
        sizes.append(batch.size)
        spool.mark_sent(batch)

    assert sizes == [10, 1000, 10]
    assert spool.check() == []


def test_every_batch_has_a_request_id_of_its_own(spool: Spool) -> None:
    fill(spool, 10)
    ids = set()
    while batch := spool.next_batch(1, MUCH):
        ids.add(batch.request_id)
        spool.mark_sent(batch)

    assert len(ids) == 10
    assert {len(each) for each in ids} == {32}


def test_an_open_batch_comes_back_unchanged(spool: Spool) -> None:
    fill(spool, 10)
    batch = batch_of(spool, 5)
    spool.mark_failed(batch, "no answer")
    fill(spool, 10)
    again = spool.next_batch(100, 1)

    assert again
    assert (again.request_id, again.payloads, again.attempts) == (batch.request_id, batch.payloads, 2)
    assert spool.check() == []


UPLOADER_DIES = """
b = spool().next_batch(3, 1 << 20)
say(b.request_id, b.attempts, b.first, b.last, b"".join(b.payloads).decode())
os._exit(0)
"""


def test_a_batch_keeps_its_request_id_and_events_if_its_uploader_dies(spool: Spool, path: Path) -> None:
    fill(spool, 5)
    first, second = (run(UPLOADER_DIES, path).split() for _ in range(2))

    assert first[1:] == ["1", "1", "3", "012"]
    assert second == [first[0], "2", "1", "3", "012"]
    assert (spool.stats().in_flight, spool.stats().pending) == (3, 2)
    assert spool.check() == []


def test_the_upload_is_counted_before_it_begins(spool: Spool, path: Path) -> None:
    fill(spool, 1)
    attempts = []
    for _ in range(3):
        spool.next_batch(1, MUCH)
        attempts += ask(path, "SELECT attempts FROM batches")

    assert attempts == [(1,), (2,), (3,)]


def test_faults_are_counted_apart_from_attempts(spool: Spool) -> None:
    fill(spool, 1)
    for fault in (True, False, True):
        spool.mark_failed(batch_of(spool), "error", fault=fault)
    batch = batch_of(spool)

    assert (batch.attempts, batch.faults) == (4, 2)
    assert spool.stats().last_error == "error"


# -- outcomes ----------------------------------------------------------------------------------------------------------


def test_sent_events_are_counted_once(spool: Spool) -> None:
    fill(spool, 3)
    batch = batch_of(spool)
    before = time.time()
    spool.mark_sent(batch)
    spool.mark_sent(batch)
    stats = spool.stats()

    assert (stats.sent, stats.pending, stats.in_flight, stats.oldest_pending_seconds) == (3, 0, 0, None)
    assert stats.last_sent_at is not None
    assert before <= stats.last_sent_at <= time.time()
    assert spool.next_batch(10, MUCH) is None
    assert spool.check() == []


def test_marking_a_batch_sent_writes_a_constant_number_of_rows(spool: Spool) -> None:
    writes = []
    for events in (2, 500):
        fill(spool, events)
        batch = batch_of(spool, events)
        before = spool._database.connections().ledger.total_changes
        spool.mark_sent(batch)
        writes.append(spool._database.connections().ledger.total_changes - before)

    assert writes == [2, 2]


def test_rejected_events_move_with_the_reason_and_the_request(spool: Spool, path: Path) -> None:
    events = fill(spool, 3)
    batch = batch_of(spool, 2)
    spool.mark_rejected(batch, "the server's words", "what may be shown")
    spool.mark_rejected(batch, "again", "again")
    stats = spool.stats()

    assert ask(path, "SELECT seq, payload, reason, request_id FROM rejected ORDER BY seq") == [
        (1, events[0], "the server's words", batch.request_id),
        (2, events[1], "the server's words", batch.request_id),
    ]
    assert payloads(path) == events[2:]
    assert (stats.rejected, stats.pending, stats.in_flight) == (2, 1, 0)
    assert stats.last_error == "what may be shown"
    assert drain(spool) == events[2:]
    assert spool.check() == []


def test_the_newest_event_may_be_rejected_and_numbers_go_on(spool: Spool, path: Path) -> None:
    fill(spool, 2)
    spool.mark_rejected(batch_of(spool), "reason", "summary")

    assert spool.append(b"next") == 3
    assert drain(spool) == [b"next"]
    assert ask(path, "SELECT seq, payload FROM rejected") == [(1, b"0"), (2, b"1")]
    assert spool.check() == []


@pytest.mark.parametrize("events", [2, 3, 7])
def test_a_batch_is_split_in_two_requests_that_hold_the_same_events(spool: Spool, events: int) -> None:
    filled = fill(spool, events)
    batch = batch_of(spool)
    spool.split(batch)
    first = batch_of(spool)
    spool.mark_sent(first)
    second = batch_of(spool)

    assert first.payloads + second.payloads == tuple(filled)
    assert len(first) == events // 2
    assert len({batch.request_id, first.request_id, second.request_id}) == 3
    assert (first.attempts, second.attempts) == (1, 1)
    assert spool.check() == []


def test_a_batch_of_one_is_not_split(spool: Spool) -> None:
    fill(spool, 1)
    batch = batch_of(spool)
    spool.split(batch)

    assert batch_of(spool).payloads == (b"0",)
    assert spool.check() == []


def test_a_batch_that_has_an_outcome_is_neither_split_nor_rejected(spool: Spool) -> None:
    fill(spool, 4)
    batch = batch_of(spool)
    spool.mark_sent(batch)
    spool.split(batch)
    spool.mark_rejected(batch, "reason", "summary")
    spool.mark_failed(batch, "error")

    assert spool.next_batch(10, MUCH) is None
    assert (spool.stats().sent, spool.stats().rejected) == (4, 0)
    assert spool.check() == []


# -- uploaders that die ------------------------------------------------------------------------------------------------

UPLOADERS_DIE = """
s = spool()
for _ in range(int(sys.argv[2])):
    pid = os.fork()
    if not pid:
        s.append(b'of a process')
        s.next_batch(8, 1 << 20)
        os._exit(0)
    os.waitpid(pid, 0)
say(s.backlog().crashes)
"""


def test_a_batch_keeps_its_request_id_and_events_after_many_crashes(spool: Spool, path: Path) -> None:
    """They were killed, or were short-lived: that says nothing of the events, and the server may have them."""
    events = fill(spool, 8)
    batch = batch_of(spool, 8)
    spool.mark_failed(batch, "no answer")
    assert run(UPLOADERS_DIE, path, 50) == "50"
    again = batch_of(spool, 8)

    assert (again.request_id, again.payloads, again.attempts) == (batch.request_id, tuple(events), 52)
    assert (spool.stats().rejected, spool.stats().dropped) == (0, 0)
    assert spool.check() == []


def test_crashes_count_only_in_a_row(spool: Spool) -> None:
    fill(spool, 2)
    for _ in range(3):
        batch = batch_of(spool)
    assert spool.backlog().crashes == 3  # the last one is not known to live

    spool.mark_failed(batch, "the server answered")
    assert spool.backlog().crashes == 0


def test_releasing_the_lease_is_not_counted_as_a_crash(spool: Spool) -> None:
    fill(spool, 2)
    for _ in range(3):
        batch_of(spool)
        spool.note_lease_given()

    assert spool.backlog().crashes == 0


# -- damaged rows ------------------------------------------------------------------------------------------------------

DAMAGES = {
    "a byte has flipped": "x'ff'",
    "the bytes have become text": "'text'",
    "the bytes have become text that is no text": "CAST(x'ff' AS TEXT)",
    "the bytes have become a number": "1.5",
}


@pytest.fixture(params=DAMAGES.values(), ids=DAMAGES.keys())
def damage(request: pytest.FixtureRequest, path: Path) -> Callable[[int], object]:
    return lambda seq: ask(path, f"UPDATE events SET payload = {request.param} WHERE seq = ?", seq)


@pytest.mark.parametrize("damaged", [[1], [3], [5], [1, 2], [2, 4], [1, 2, 3, 4, 5]])
def test_a_damaged_row_is_rejected_and_the_others_go_on(
    spool: Spool, path: Path, damage: Callable[[int], object], damaged: list[int]
) -> None:
    events = fill(spool, 5)
    for seq in damaged:
        damage(seq)

    assert drain(spool) == [event for seq, event in enumerate(events, 1) if seq not in damaged]
    assert ask(path, "SELECT seq, reason FROM rejected ORDER BY seq") == [(seq, DAMAGED) for seq in damaged]
    assert (spool.stats().rejected, spool.stats().last_error) == (len(damaged), DAMAGED)
    assert spool.check() == []


@pytest.mark.parametrize("damaged", [[1], [3], [5], [1, 2], [2, 4], [1, 2, 3, 4, 5]])
def test_a_damaged_row_of_an_open_batch_is_rejected(
    spool: Spool, path: Path, damage: Callable[[int], object], damaged: list[int]
) -> None:
    events = fill(spool, 5)
    batch = batch_of(spool)
    for seq in damaged:
        damage(seq)

    assert drain(spool) == [event for seq, event in enumerate(events, 1) if seq not in damaged]
    assert ask(path, "SELECT seq, reason FROM rejected ORDER BY seq") == [(seq, DAMAGED) for seq in damaged]
    spool.mark_sent(batch)  # the answer to the upload that was under way: too late
    assert spool.stats().sent == 5 - len(damaged)
    assert spool.check() == []


def test_check_tells_a_damaged_row(spool: Spool, damage: Callable[[int], object]) -> None:
    fill(spool, 3)
    damage(2)

    assert spool.check() == ["the checksum of row 2 does not match"]


# -- deletion ----------------------------------------------------------------------------------------------------------


def test_sent_events_are_kept_for_the_retention(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(retention=100)
    events = fill(spool, 4)
    spool.mark_sent(batch_of(spool, 2))
    spool.mark_sent(batch_of(spool, 2))
    spool.maintain()
    assert payloads(path) == events

    ask(path, "UPDATE batches SET settled_at = settled_at - 101 WHERE first = 1")
    spool.maintain()
    assert payloads(path) == events[2:]
    assert spool.stats().sent == 4
    assert spool.check() == []


def test_open_and_pending_events_are_never_deleted(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(retention=0)
    events = fill(spool, 6)
    spool.mark_sent(batch_of(spool, 2))
    batch = batch_of(spool, 2)
    spool.maintain()

    assert payloads(path) == events[2:]
    spool.mark_failed(batch, "error")
    assert drain(spool) == events[2:]
    spool.maintain()
    assert payloads(path) == [b""]
    assert spool.check() == []


def test_the_ledger_is_as_short_as_what_is_kept(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(retention=0)
    for _ in range(20):
        fill(spool, 3)
        drain(spool, 1)
        spool.maintain()

    assert ask(path, "SELECT count(*), max(last) FROM batches") == [(1, 60)]
    assert spool.check() == []


def test_rejected_events_outlive_every_retention(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(retention=0)
    fill(spool, 4)
    spool.mark_rejected(batch_of(spool, 2), "reason", "summary")
    drain(spool)
    spool.maintain()

    assert ask(path, "SELECT payload FROM rejected") == [(b"0",), (b"1",)]
    assert spool.check() == []


# -- figures -----------------------------------------------------------------------------------------------------------


def test_unsettled_counts_what_waits_and_what_is_open_up_to_a_row(spool: Spool) -> None:
    fill(spool, 10)
    assert [spool.unsettled(upto) for upto in (0, 4, 10)] == [0, 4, 10]

    batch = batch_of(spool, 3)
    assert [spool.unsettled(upto) for upto in (3, 4, 10)] == [3, 4, 10]
    spool.mark_sent(batch)
    assert [spool.unsettled(upto) for upto in (3, 4, 10)] == [0, 1, 7]
    drain(spool)
    assert spool.unsettled(10) == 0
    assert spool.check() == []


def test_the_backlog_is_what_waits(spool: Spool) -> None:
    before = time.time()
    fill(spool, 10)
    batch_of(spool, 3)
    spool.request_flush(7)
    spool.request_flush(5)
    backlog = spool.backlog()

    assert (backlog.pending, backlog.open_batches, backlog.batched_through, backlog.flush_to) == (7, 1, 3, 7)
    assert backlog.oldest_at is not None
    assert before <= backlog.oldest_at <= time.time()
    drain(spool)
    assert (spool.backlog().pending, spool.backlog().open_batches, spool.backlog().oldest_at) == (0, 0, None)


def test_the_oldest_is_the_oldest_without_an_outcome(spool: Spool, path: Path) -> None:
    fill(spool, 4)
    ask(path, "UPDATE events SET at = at - 100 * (5 - seq)")
    ages = []
    for _ in range(2):
        batch = batch_of(spool, 2)
        ages.append(spool.stats().oldest_pending_seconds)
        spool.mark_sent(batch)
        ages.append(spool.stats().oldest_pending_seconds)

    assert [None if age is None else round(age, -2) for age in ages] == [400, 200, 200, None]


def test_the_lease_is_noted_and_given_back_only_by_its_holder(spool: Spool, path: Path) -> None:
    spool.note_lease("host")
    lease = spool.stats().lease
    assert lease
    assert lease.host == "host"

    ask(path, "UPDATE spool SET lease_pid = lease_pid + 1")
    spool.note_lease_given()
    assert spool.stats().lease
    spool.note_lease("host")
    spool.note_lease_given()
    assert spool.stats().lease is None


def test_a_check_tells_what_is_missing(spool: Spool, path: Path) -> None:
    fill(spool, 6)
    batch_of(spool, 3)
    ask(path, "DELETE FROM events WHERE seq IN (2, 5)")
    ask(path, "UPDATE spool SET rejected = 1")

    assert spool.check() == [
        "the open batch 1 to 3 should hold 3 events",
        "rows are missing between 4 and 6",
        "1 rejected events are counted, 0 are kept",
    ]


def test_an_open_batch_without_its_events_does_not_stop_the_others(spool: Spool, path: Path) -> None:
    events = fill(spool, 6)
    batch_of(spool, 3)
    ask(path, "DELETE FROM events WHERE seq <= 3")

    assert drain(spool) == events[3:]
    assert (spool.stats().sent, spool.stats().dropped) == (3, 3)
    assert spool.check() == []


def test_a_read_error_is_not_reported_as_damage(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error ends SQLite's transaction by itself: giving it back then must not hide the error."""
    import sqlite3

    from alignai.spool import SpoolError

    fill(spool, 1)

    def fails(db: sqlite3.Connection) -> int:
        db.execute("ROLLBACK")
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    monkeypatch.setattr("alignai.spool.ledger.queries.last_seq", fails)
    with pytest.raises(SpoolError, match="the disk reports an error"):
        spool.last_seq()
    monkeypatch.undo()
    assert spool.last_seq() == 1
