"""Requeued events are pending again, unchanged, in order and once."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolBusyError, SpoolFullError
from alignai.spool.steps import Steps
from tests.support.movable_clock import movable
from tests.support.processes import process, run
from tests.support.spool_file import ask, on_disk, payloads, shm, wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MUCH = 1 << 30
MIB = 1 << 20


def reject_next(spool: Spool, most: int = 1 << 20) -> list[bytes]:
    """Mark the next batch as rejected and return its events."""
    batch = spool.next_batch(most, MUCH)
    assert batch
    spool.mark_rejected(batch, "its words", "refused")
    return list(batch.payloads)


def rejected(spool: Spool, events: list[bytes]) -> Spool:
    for event in events:
        spool.append(event)
    while events:
        events = events[len(reject_next(spool, 400)) :]
    return spool


def drained(spool: Spool) -> list[bytes]:
    sent: list[bytes] = []
    while batch := spool.next_batch(400, MUCH):
        spool.mark_sent(batch)
        sent += batch.payloads
    return sent


def figures(spool: Spool) -> tuple[int, int, int, int]:
    stats = spool.stats()
    return stats.pending, stats.sent, stats.rejected, stats.dropped


def test_requeued_events_come_after_the_others_oldest_first(spool: Spool, path: Path) -> None:
    events = [b"first", b"\x00\xff" * 5000, b"third"]
    rejected(spool, events)
    spool.append(b"waits")
    done = spool.requeue()

    assert (done.requeued, done.damaged) == (3, 0)
    assert figures(spool) == (4, 0, 0, 0)
    assert ask(path, "SELECT seq, payload FROM events WHERE seq > 3 ORDER BY seq") == [
        (4, b"waits"),
        *zip((5, 6, 7), events, strict=True),
    ]
    assert spool.check() == []
    assert drained(spool) == [b"waits", *events]


def test_no_row_of_events_is_written_twice(spool: Spool, path: Path) -> None:
    rejected(spool, [b"one", b"two"])
    spool.append(b"three")
    before = ask(path, "SELECT * FROM events")
    spool.requeue()

    assert ask(path, "SELECT * FROM events")[: len(before)] == before


def test_requeue_without_rejected_events_does_nothing(spool: Spool) -> None:
    spool.append(b"event")

    assert spool.requeue().requeued == 0
    assert figures(spool) == (1, 0, 0, 0)


def test_requeue_in_several_transactions_keeps_the_order(spool: Spool) -> None:
    events = [b"%d" % number for number in range(2000)]
    rejected(spool, events)
    done = spool.requeue()

    assert done.requeued == 2000
    assert spool.check() == []
    assert drained(spool) == events


def test_requeue_needs_little_memory_and_small_transactions(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    rejected(spool, [b"." * 100_000 for _ in range(20)])
    commits: list[int] = []
    transaction = spool._database.transaction

    def counted(*until: float | None) -> object:
        commits.append(spool.stats().rejected)
        return transaction(*until)

    monkeypatch.setattr(spool._database, "transaction", counted)
    spool.requeue()

    assert commits == [*range(20, 0, -2)]


@pytest.mark.parametrize("max_bytes", [MIB, 8 * MIB])
@pytest.mark.parametrize("size", [0, 300, 6000, 100_000])
def test_requeue_keeps_file_and_wal_within_max_bytes(
    open_spool: Callable[..., Spool], path: Path, max_bytes: int, size: int
) -> None:
    spool = open_spool(max_bytes=max_bytes)
    source = random.Random(7)
    events = [source.randbytes(size) for _ in range(min(2000, max_bytes // 3 // (size + 40)))]
    for event in events:
        spool.append(event)
    while spool.stats().pending:
        reject_next(spool, 5 if size < 100_000 else 1)
        spool.maintain()
    largest = 0
    pause = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not pause.wait(0.001):
            largest = max(largest, on_disk(path))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        spool.requeue()
    finally:
        pause.set()
        watcher.join()

    assert max(largest, on_disk(path)) <= max_bytes
    assert drained(spool) == events


def test_requeue_of_older_events_leaves_recently_rejected_ones(open_spool: Callable[..., Spool]) -> None:
    with movable() as clock:
        spool = rejected(open_spool(), [b"old", b"older"])
        clock.wall += 1000
        rejected(spool, [b"young"])
        clock.wall += 10
        done = spool.requeue(500)

        assert (done.requeued, figures(spool)) == (2, (2, 0, 1, 0))
        assert spool.requeue(11).requeued == 0
        assert spool.requeue(10).requeued == 1
        assert drained(spool) == [b"old", b"older", b"young"]


def test_events_with_any_time_of_rejection_are_requeued(open_spool: Callable[..., Spool]) -> None:
    with movable() as clock:
        clock.wall += 1e8
        spool = rejected(open_spool(), [b"from the future"])
        clock.wall -= 1e8

        assert spool.requeue(1).requeued == 0
        assert spool.requeue().requeued == 1


@pytest.mark.parametrize("age", [-1, float("nan")])
def test_an_age_must_be_a_number_of_seconds(spool: Spool, age: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        spool.requeue(age)


def test_a_damaged_event_stays_rejected_and_is_counted(spool: Spool, path: Path) -> None:
    rejected(spool, [b"first", b"second", b"third"])
    ask(path, "UPDATE rejected SET payload = x'00' WHERE seq = 2")
    done = spool.requeue()

    assert (done.requeued, done.damaged) == (2, 1)
    assert ask(path, "SELECT seq, payload FROM rejected") == [(2, b"\x00")]
    assert figures(spool) == (2, 0, 1, 0)
    assert spool.check() == []
    assert drained(spool) == [b"first", b"third"]


def test_a_row_that_was_damaged_before_it_was_uploaded_stays_rejected(spool: Spool, path: Path) -> None:
    spool.append(b"event")
    spool.append(b"event")
    ask(path, "UPDATE events SET crc = crc + 1 WHERE seq = 1")
    assert drained(spool) == [b"event"]

    assert spool.requeue().damaged == 1
    assert figures(spool) == (0, 1, 1, 0)


def test_an_event_may_be_rejected_and_requeued_again_and_again(spool: Spool) -> None:
    rejected(spool, [b"event", b"another"])
    for _ in range(5):
        assert spool.requeue().requeued == 2
        assert reject_next(spool) == [b"event", b"another"]

    assert figures(spool) == (0, 0, 2, 0)
    assert spool.check() == []


def test_an_event_rejected_again_meanwhile_is_not_requeued_for_ever(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected(spool, [b"%d" % number for number in range(600)])
    keep_short = Steps.keep_wal_short

    def reject_meanwhile(steps: Steps, size: int) -> None:
        keep_short(steps, size)
        while spool.stats().pending:
            reject_next(spool)

    monkeypatch.setattr(Steps, "keep_wal_short", reject_meanwhile)

    assert spool.requeue().requeued == 600


def test_an_open_batch_is_as_it_was(spool: Spool) -> None:
    rejected(spool, [b"rejected"])
    spool.append(b"in flight")
    before = spool.next_batch(1, MUCH)
    spool.requeue()
    after = spool.next_batch(1, MUCH)

    assert before
    assert after
    assert (after.first, after.last, after.request_id) == (before.first, before.last, before.request_id)


def fill_up(spool: Spool) -> int:
    source = random.Random(7)
    with suppress(SpoolFullError):
        while True:
            spool.append(source.randbytes(3000))
    return spool.stats().pending


def test_requeue_into_a_full_spool_fails_and_loses_nothing(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=MIB)
    events = [b"%04d" % number + b"." * 700 for number in range(400)]
    rejected(spool, events)
    # Every other event is rejected, so that their pages hold other events too.
    ask(path, "UPDATE rejected SET rejected_at = rejected_at - 1000 WHERE seq % 2")
    waits = fill_up(spool)
    with pytest.raises(SpoolFullError, match="room"):
        spool.requeue(500)
    requeued = spool.stats().pending - waits

    assert on_disk(path) <= MIB
    assert figures(spool) == (waits + requeued, 0, 400 - requeued, 0)
    assert spool.check() == []
    drained(spool)  # sent events are kept for an hour, but make room if needed
    assert spool.requeue().requeued == 400 - requeued
    assert len(drained(spool)) == 400 - requeued


def test_requeue_beyond_max_bytes_is_an_error(spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [b"%d" % number + b"." * 2000 for number in range(300)]
    rejected(spool, events)
    looks: list[int] = []

    def pages(_: sqlite3.Connection) -> int:
        looks.append(1)
        return MUCH if len(looks) > 3 and not len(looks) % 2 else 10

    monkeypatch.setattr("alignai.spool.requeue._page_count", pages)
    with pytest.raises(SpoolFullError, match="room"):
        spool.requeue()
    monkeypatch.undo()
    pending, _, left, _ = figures(spool)

    assert 0 < pending < 300
    assert pending + left == 300
    assert spool.check() == []
    assert spool.requeue().requeued == left
    assert drained(spool) == events


DISK_FULL = """
import resource
s = spool()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try: s.requeue()
except SpoolError: say('refused')
say(s.stats().pending + s.stats().rejected)
os._exit(0)
"""


def test_requeue_on_a_full_disk_is_an_error_and_loses_nothing(spool: Spool, path: Path) -> None:
    events = [b"%d" % number + b"." * 2000 for number in range(1000)]
    rejected(spool, events)
    spool.close()
    said = run(DISK_FULL, path).split()
    spool = Spool(path, project_id="project")

    assert said == ["refused", "1000"]
    assert spool.check() == []
    spool.requeue()
    assert drained(spool) == events
    spool.close()


def test_requeue_fails_if_the_wal_is_lost_and_events_stay_rejected(
    open_spool: Callable[..., Spool], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected(open_spool(), [b"first", b"second"]).close()
    spool = open_spool()
    looks: list[int] = []

    def lose_wal(db: sqlite3.Connection) -> int:
        looks.append(1)
        if len(looks) == 1:
            wal(path).unlink()
            shm(path).unlink()
        return 0

    monkeypatch.setattr("alignai.spool.requeue._page_count", lose_wal)
    with pytest.raises(SpoolBusyError, match="deleted during a write"):
        spool.requeue()

    assert figures(spool) == (0, 0, 2, 0)
    assert spool.requeue().requeued == 2
    assert spool.check() == []
    assert drained(spool) == [b"first", b"second"]


def test_requeued_events_are_there_once_if_the_wal_is_deleted_later(
    open_spool: Callable[..., Spool], path: Path
) -> None:
    rejected(open_spool(), [b"event"]).close()
    spool = open_spool()
    spool.requeue()
    wal(path).unlink()
    spool.append(b"another")

    assert figures(spool) == (2, 0, 0, 0)
    assert drained(spool) == [b"event", b"another"]


WORKER = """
s = spool(retention=0)
say('up')
number = 0
sent = 0
while not os.path.exists(sys.argv[2]):
    number += 1
    s.append(b'worker %d' % number)
    if not number % 50 and (batch := s.next_batch(40, 1 << 20)):
        s.mark_sent(batch)
        sent += len(batch)
    if not number % 500: s.maintain()
say(number, sent)
s.close()
"""


def test_requeue_works_while_a_worker_appends_and_uploads(spool: Spool, path: Path, tmp_path: Path) -> None:
    rejected(spool, [b"%d" % number for number in range(3000)])
    with process(WORKER, path, tmp_path / "stop") as worker:
        assert worker.hear() == "up"
        done = spool.requeue()
        (tmp_path / "stop").touch()
        appended, sent = map(int, worker.hear().split())
        worker.end()

    assert done.requeued == 3000
    assert figures(spool) == (appended + 3000 - sent, sent, 0, 0)
    assert spool.check() == []
    rest = [int(event) for event in drained(spool) if not event.startswith(b"w")]
    assert rest == [*range(3000 - len(rest), 3000)]


def test_two_concurrent_requeues_requeue_each_event_once(spool: Spool, path: Path) -> None:
    events = [b"%d" % number for number in range(3000)]
    rejected(spool, events)
    script = "s = spool(); hear(); say(s.requeue().requeued); s.close()"
    with process(script, path) as one, process(script, path) as other:
        one.say()
        other.say()
        done = int(one.hear()) + int(other.hear())
        one.end()
        other.end()

    assert done == 3000
    assert figures(spool) == (3000, 0, 0, 0)
    assert sorted(drained(spool)) == sorted(events)


def test_requeue_releases_the_write_lock_between_steps(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected(spool, [b"%d" % number for number in range(600)])
    free: list[bool] = []

    def look(_: float) -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        free.append(True)

    monkeypatch.setattr("alignai.spool.steps.Steps.give_way", staticmethod(look))
    spool.requeue()

    assert free == [True] * 3


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
s.requeue()
"""


@pytest.mark.parametrize("steps", [1, 3])
def test_a_killed_requeue_has_completed_its_earlier_steps(spool: Spool, path: Path, steps: int) -> None:
    events = [b"%d" % number for number in range(1000)]
    rejected(spool, events)
    with process(KILLED, path, steps) as killed:
        assert killed.hear() == "up"
        killed.popen.wait(30)

    assert figures(spool) == (250 * steps, 0, 1000 - 250 * steps, 0)
    assert spool.requeue().requeued == 1000 - 250 * steps
    assert drained(spool) == events
    assert payloads(path)[-1] == events[-1]


def test_requeue_leaves_the_write_lock_free_as_long_as_it_held_it() -> None:
    began = time.monotonic()
    Steps.give_way(began - 0.02)
    free = time.monotonic() - began
    began = time.monotonic()
    Steps.give_way(began - 3600)

    assert free >= 0.02
    assert time.monotonic() - began < 1800
