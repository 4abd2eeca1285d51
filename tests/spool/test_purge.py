"""Purged events are deleted and counted, and no others are changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolCorruptError
from alignai.spool.records import SELECTABLE_STATES
from tests.spool.test_requeue import drained, figures, reject_next, rejected
from tests.support.movable_clock import movable
from tests.support.processes import process
from tests.support.spool_file import ask, on_disk, payloads, wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MUCH = 1 << 30
MIB = 1 << 20


def purge(spool: Spool, state: str, older_than: float = 0.0) -> int:
    selection = spool.select(state, older_than)
    purged = spool.purge(selection)
    assert purged == selection.events
    assert spool.check() == []
    return purged


def send_next(spool: Spool, most: int) -> None:
    batch = spool.next_batch(most, MUCH)
    assert batch
    spool.mark_sent(batch)


@pytest.fixture
def filled(spool: Spool) -> Spool:
    """Three sent, two rejected, four in flight, five pending."""
    for number in range(14):
        spool.append(b"%d" % number)
    send_next(spool, 3)
    reject_next(spool, 2)
    assert spool.next_batch(4, MUCH)
    return spool


def test_rejected_events_are_deleted_and_counted_as_dropped(filled: Spool, path: Path) -> None:
    assert purge(filled, "rejected") == 2
    assert ask(path, "SELECT * FROM rejected") == []
    assert (figures(filled), filled.stats().in_flight) == ((5, 3, 0, 2), 4)


def test_purge_drops_pending_events_and_keeps_those_in_flight(filled: Spool) -> None:
    assert purge(filled, "pending") == 5
    assert (figures(filled), filled.stats().in_flight) == ((0, 3, 2, 5), 4)
    batch = filled.next_batch(100, MUCH)
    assert batch
    assert batch.payloads == (b"5", b"6", b"7", b"8")
    filled.mark_sent(batch)
    assert filled.next_batch(100, MUCH) is None


def test_sent_events_are_deleted_and_counted_as_sent_still(filled: Spool, path: Path) -> None:
    assert payloads(path)[:3] == [b"0", b"1", b"2"]
    assert purge(filled, "sent") == 3
    assert payloads(path)[:1] == [b"5"]
    assert (figures(filled), filled.stats().in_flight) == ((5, 3, 2, 0), 4)


@pytest.mark.parametrize("state", SELECTABLE_STATES)
def test_purge_of_an_empty_spool_deletes_nothing(spool: Spool, state: str) -> None:
    assert purge(spool, state) == 0
    assert spool.append(b"event") == 1


@pytest.mark.parametrize("state", SELECTABLE_STATES)
def test_append_after_a_purge_reuses_no_number(filled: Spool, state: str) -> None:
    purge(filled, state)

    assert filled.append(b"next") == 15
    assert drained(filled)[-1] == b"next"


@pytest.mark.parametrize("state", ["in flight", "open", "dropped", ""])
def test_purge_of_an_unknown_state_is_refused(spool: Spool, state: str) -> None:
    with pytest.raises(ValueError, match="rejected, pending, sent"):
        spool.select(state)


def test_purge_leaves_no_trace_of_the_newest_event(spool: Spool, path: Path) -> None:
    spool.append(b"SECRET")
    purge(spool, "pending")

    assert payloads(path) == [b""]
    assert drained(spool) == []


@pytest.mark.parametrize("state", SELECTABLE_STATES)
def test_purge_keeps_events_that_come_after_the_selection(filled: Spool, state: str) -> None:
    selection = filled.select(state)
    filled.append(b"later")
    for settle in (reject_next, lambda spool: send_next(spool, 100)):
        settle(filled)
        filled.append(b"latest")
    purged = filled.purge(selection)
    left = {"rejected": figures(filled)[2], "pending": figures(filled)[0], "sent": filled.select("sent").events}

    assert purged == (0 if state == "pending" else selection.events)
    assert left[state] == {"rejected": 4, "pending": 1, "sent": 7}[state]
    assert filled.check() == []


def test_purge_releases_the_write_lock_between_transactions(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected(spool, [b"rejected"] * 1000)
    for _ in range(1000):
        spool.append(b"pending")
    free: list[int] = []

    def look(_: float) -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        free.append(spool.stats().dropped)

    monkeypatch.setattr("alignai.spool.steps.Steps.give_way", staticmethod(look))

    assert (purge(spool, "rejected"), purge(spool, "pending")) == (1000, 1000)
    assert free == [*range(250, 2001, 250)]


@pytest.mark.parametrize("state", ["rejected", "pending"])
@pytest.mark.parametrize(("events", "size"), [(50, 50_000), (6000, 400)])
def test_purge_keeps_the_wal_short(
    open_spool: Callable[..., Spool], path: Path, state: str, events: int, size: int
) -> None:
    spool = open_spool(max_bytes=8 * MIB)
    for _ in range(events):
        spool.append(b"." * size)
    while state == "rejected" and spool.stats().pending:
        reject_next(spool, 5 if size > 400 else 400)
        spool.maintain()
    spool.maintain()
    purge(spool, state)

    assert wal(path).stat().st_size < MIB
    assert on_disk(path) <= 8 * MIB
    assert figures(spool) == (0, 0, 0, events)


def test_purge_gives_room_back(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=64 * MIB)
    for _ in range(150):
        spool.append(b"." * 100_000)
    spool.maintain()
    full = on_disk(path)
    purge(spool, "pending")
    for _ in range(200):
        spool.maintain()

    assert on_disk(path) < full / 2


@pytest.mark.parametrize("state", SELECTABLE_STATES)
def test_purge_deletes_only_events_that_are_old_enough(open_spool: Callable[..., Spool], state: str) -> None:
    with movable() as clock:
        spool = open_spool()
        for moment in range(3):
            for number in range(2):
                spool.append(b"%d.%d" % (moment, number))
            if state == "rejected":
                reject_next(spool)
            elif state == "sent":
                send_next(spool, 2)
            clock.wall += 100

        assert purge(spool, state, 301) == 0
        assert purge(spool, state, 200) == 4
        assert purge(spool, state, 99) == 2


def test_purge_of_pending_events_stops_at_the_first_too_young_one(
    open_spool: Callable[..., Spool],
) -> None:
    with movable() as clock:
        spool = open_spool()
        spool.append(b"old")
        clock.wall += 1000
        spool.append(b"young")
        clock.wall -= 1000  # the clock is put back
        spool.append(b"seems old")
        clock.wall += 1000

        assert purge(spool, "pending", 500) == 1
        assert drained(spool) == [b"young", b"seems old"]


def test_sent_events_after_one_in_flight_are_purged_only_after_it(spool: Spool) -> None:
    for number in range(4):
        spool.append(b"%d" % number)
    send_next(spool, 1)
    in_flight = spool.next_batch(2, MUCH)
    assert in_flight
    spool.mark_event_sent(in_flight, 1)

    assert spool.select("sent").events == 1
    assert purge(spool, "sent") == 1
    send_next(spool, 1)
    assert purge(spool, "sent") == 2


def test_a_requeued_event_is_as_old_as_its_requeueing(open_spool: Callable[..., Spool]) -> None:
    with movable() as clock:
        spool = rejected(open_spool(), [b"event"])
        clock.wall += 1000
        spool.requeue()
        clock.wall += 100

        assert purge(spool, "pending", 500) == 0
        assert purge(spool, "pending", 50) == 1


def test_damaged_rejected_events_are_purged_too(spool: Spool, path: Path) -> None:
    rejected(spool, [b"first", b"second"])
    ask(path, "UPDATE rejected SET payload = x'00' WHERE seq = 1")

    assert purge(spool, "rejected") == 2


def test_purge_deletes_nothing_if_pending_events_are_missing(spool: Spool, path: Path) -> None:
    for number in range(5):
        spool.append(b"%d" % number)
    ask(path, "DELETE FROM events WHERE seq = 3")
    with pytest.raises(SpoolCorruptError, match="vanished"):
        spool.purge(spool.select("pending"))
    (kept,) = [each for each in path.parent.glob("spool.db.corrupt-*") if not each.name.endswith(("-wal", "-shm"))]

    assert payloads(kept) == [b"0", b"1", b"3", b"4"]


WORKER = """
s = spool(retention=0)
say('up')
number = sent = 0
while not os.path.exists(sys.argv[2]):
    number += 1
    s.append(b'worker %d' % number)
    if not number % 50 and (batch := s.next_batch(20, 1 << 20)):
        s.mark_sent(batch)
        sent += len(batch)
    if not number % 500: s.maintain()
say(number, sent)
s.close()
"""


def test_purge_works_while_a_worker_appends_and_uploads(spool: Spool, path: Path, tmp_path: Path) -> None:
    rejected(spool, [b"%d" % number for number in range(2000)])
    for _ in range(2000):
        spool.append(b"pending")
    purged = {"rejected": 0, "pending": 0, "sent": 0}
    with process(WORKER, path, tmp_path / "stop") as worker:
        assert worker.hear() == "up"
        for state in (*SELECTABLE_STATES, "pending"):
            purged[state] += spool.purge(spool.select(state))
        (tmp_path / "stop").touch()
        appended, sent = map(int, worker.hear().split())
        worker.end()

    dropped = purged["rejected"] + purged["pending"]
    assert purged["rejected"] == 2000
    assert figures(spool) == (appended + 2000 - sent - purged["pending"], sent, 0, dropped)
    assert spool.check() == []


KILLED = """
import signal
s = spool()
steps = int(sys.argv[2])
from alignai.spool.steps import Steps
def give_way(began):
    global steps
    steps -= 1
    if not steps: os.kill(os.getpid(), signal.SIGKILL)
Steps.give_way = staticmethod(give_way)
say('up')
s.purge(s.select(sys.argv[3]))
"""


@pytest.mark.parametrize("state", ["rejected", "pending"])
def test_a_killed_purge_has_counted_the_events_it_deleted(spool: Spool, path: Path, state: str) -> None:
    rejected(spool, [b"."] * 1000)
    for _ in range(1000):
        spool.append(b".")
    with process(KILLED, path, 3, state) as killed:
        assert killed.hear() == "up"
        killed.popen.wait(30)

    left = {"rejected": (1000, 0, 250, 750), "pending": (250, 0, 1000, 750)}
    assert figures(spool) == left[state]
    assert spool.check() == []
    assert purge(spool, state) == 250
