"""The disk is bounded, a full one is an error at the call, and room comes back."""

from __future__ import annotations

import random
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolClosedError, SpoolError, SpoolFullError
from tests.support.processes import process, run
from tests.support.spool_file import ask, checkpoint, on_disk, payloads, wal
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
MUCH = 1 << 30


@pytest.fixture
def path(path_in_memory: Path) -> Path:
    return path_in_memory


def fill_up(spool: Spool, sizes: tuple[int, int], most: int) -> int:
    """Append events of random *sizes* until there is no room or *most* bytes are in. Return their number."""
    source = random.Random(7)
    count = size = 0
    try:
        while size < most:
            payload = source.randbytes(source.randint(*sizes))
            spool.append(payload)
            size += len(payload)
            count += 1
            if not count % 50:
                spool.maintain()
    except SpoolFullError:
        pass
    return count


def drain(spool: Spool) -> int:
    sent = 0
    while batch := spool.next_batch(50, MIB):
        spool.mark_sent(batch)
        sent += len(batch)
    return sent


SIZES = {"tiny": (0, 50), "small": (100, 900), "pages": (3000, 9000), "large": (60_000, 120_000)}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("max_bytes", [MIB, 8 * MIB])
@pytest.mark.parametrize("maintain", [True, False], ids=["maintain", "no maintenance"])
def test_file_wal_and_wal_index_stay_within_max_bytes(
    open_spool: Callable[..., Spool],
    path: Path,
    max_bytes: int,
    sizes: tuple[int, int],
    maintain: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spool = open_spool(max_bytes=max_bytes, on_full="drop_oldest")
    if not maintain:
        monkeypatch.setattr(spool, "maintain", lambda: None)
    largest = appended = size = 0
    source = random.Random(7)
    while size < 2 * max_bytes and appended < 8000:
        payload = source.randbytes(source.randint(*sizes))
        spool.append(payload)
        appended += 1
        size += len(payload)
        if not appended % 20:
            spool.maintain()
        largest = max(largest, on_disk(path))
    stats = spool.stats()

    assert largest <= max_bytes
    assert stats.pending + stats.dropped == appended
    assert spool.check() == []


def test_a_full_spool_raises_and_works_again_once_events_are_sent(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=MIB)
    count = fill_up(spool, (900, 1100), 2 * MIB)
    with pytest.raises(SpoolFullError, match="Raise max_spool_bytes"):
        spool.append(b"." * 8000)

    assert count > 0.5 * MIB / 1000
    assert len(payloads(path)) == spool.last_seq() == count
    assert drain(spool) == count
    assert spool.append(b"." * 8000) == count + 1  # sent events are deleted before their retention time is over
    assert fill_up(spool, (900, 1100), 2 * MIB) > count * 0.8
    assert spool.check() == []


def test_deleting_gives_pages_back_to_the_file_system(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=64 * MIB, retention=0)
    for _ in range(400):
        spool.append(random.randbytes(50_000))
    drain(spool)
    for _ in range(100):
        spool.append(b"")
        spool.maintain()

    assert path.stat().st_size < 6 * MIB
    assert spool.check() == []


def test_giving_pages_back_waits_for_other_writers(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(retention=0)
    for _ in range(120):
        spool.append(random.randbytes(50_000))
    drain(spool)
    spool.maintain()
    while spool.maintenance_due:  # one run prunes for a bounded time
        spool.maintain()
    before = path.stat().st_size
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        spool.append(b"")
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.2, other.execute, ["ROLLBACK"])
        timer.start()
        spool.maintain()
        timer.join()

    def is_smaller() -> bool:
        spool.append(b"")
        spool.maintain()
        checkpoint(path)
        return path.stat().st_size < before

    wait_until(is_smaller)
    assert spool.check() == []


def test_an_event_too_large_for_an_empty_spool_is_refused(
    open_spool: Callable[..., Spool],
) -> None:
    for on_full in ("raise", "block", "drop_oldest"):
        spool = open_spool(max_bytes=MIB, on_full=on_full)
        before = spool.append(b"kept")
        with pytest.raises(SpoolFullError, match="does not fit"):
            spool.append(b"." * MIB)
        assert spool.last_seq() == before
        assert spool.stats().dropped == 0
        assert spool.check() == []


def test_a_large_event_does_not_stop_those_after_it(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=MIB)
    numbers = [spool.append(b"." * size) for size in (120_000, 10, 120_000, *[10] * 200)]

    assert numbers == list(range(1, 204))
    assert on_disk(path) <= MIB
    assert spool.check() == []


def test_drop_oldest_gives_up_the_oldest_and_counts_them(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=MIB, on_full="drop_oldest")
    for i in range(3000):
        spool.append(b"%d " % i + b"." * 1000)
    stats = spool.stats()
    kept = [int(each.split()[0]) for each in payloads(path)]

    assert stats.dropped > 1000
    assert stats.pending > 400
    assert kept[-stats.pending :] == list(range(stats.dropped, 3000))
    assert drain(spool) == stats.pending
    assert spool.check() == []


def test_drop_oldest_keeps_what_is_in_flight_and_does_not_drop_more_for_it(open_spool: Callable[..., Spool]) -> None:
    """In an outage the oldest batch stays open, and deleting in order would delete nothing."""
    spool = open_spool(max_bytes=MIB, on_full="drop_oldest")
    for i in range(100):
        spool.append(b"%d " % i + b"." * 1000)
    batch = spool.next_batch(50, MUCH)
    assert batch
    spool.mark_failed(batch, "the server is down")
    for i in range(100, 2000):
        spool.append(b"%d " % i + b"." * 1000)
    stats = spool.stats()

    assert stats.in_flight == 50
    assert stats.pending > 400
    assert stats.in_flight + stats.pending + stats.dropped == 2000
    again = spool.next_batch(50, MUCH)
    assert again
    assert again.payloads == batch.payloads
    assert spool.check() == []


def test_a_spool_that_rejects_everything_stays_within_max_bytes(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=8 * MIB)
    fill_up(spool, (9000, 11_000), 16 * MIB)
    rejected = 0
    while batch := spool.next_batch(50, MIB):
        spool.mark_rejected(batch, "reason", "summary")
        rejected += len(batch)
        spool.maintain()

    assert rejected > 400
    assert on_disk(path) <= 8 * MIB
    assert spool.stats().rejected == rejected
    assert spool.check() == []


def test_block_waits_until_another_thread_has_made_room(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(max_bytes=MIB, on_full="block")
    filler = open_spool(max_bytes=MIB)
    count = fill_up(filler, (900, 1100), 2 * MIB)
    numbers: list[int] = []
    waiting = threading.Thread(target=lambda: numbers.append(spool.append(b"." * 5000)))
    waiting.start()
    waiting.join(0.2)
    assert numbers == []

    drain(filler)
    waiting.join(10)
    assert numbers == [count + 1]
    assert spool.check() == []


def test_a_call_that_waits_for_room_does_not_block_the_one_making_it(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(max_bytes=8 * MIB, on_full="block", retention=0)

    def record() -> None:
        for _ in range(1500):
            spool.append(b"." * 10_000)

    recording = threading.Thread(target=record, daemon=True)
    recording.start()
    recording.join(0.5)
    assert recording.is_alive()  # it has more than there is room for

    def make_room() -> None:
        while recording.is_alive():
            drain(spool)
            spool.maintain()

    making = threading.Thread(target=make_room, daemon=True)
    making.start()
    making.join(60)

    assert not making.is_alive()
    drain(spool)
    assert spool.stats().sent == 1500
    assert spool.check() == []


def test_closing_ends_a_call_that_waits_for_room(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(max_bytes=MIB, on_full="block")
    fill_up(open_spool(max_bytes=MIB), (900, 1100), 2 * MIB)
    errors: list[BaseException] = []

    def append() -> None:
        try:
            spool.append(b"." * 5000)
        except SpoolError as error:
            errors.append(error)

    waiting = threading.Thread(target=append)
    waiting.start()
    waiting.join(0.2)
    spool.close()
    waiting.join(10)

    assert [type(each) for each in errors] == [SpoolClosedError] or [type(each) for each in errors] == [SpoolFullError]


def test_each_event_of_a_shared_commit_is_checked_for_room(open_spool: Callable[..., Spool]) -> None:
    """Together they would not even fit in an empty spool. One after the other they do."""
    spool = open_spool(max_bytes=MIB, on_full="drop_oldest", synchronous="full")
    assert spool._group
    group = spool._group
    group._leading.acquire()
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda: numbers.append(spool.append(random.randbytes(100_000)))) for _ in range(12)
    ]
    for each in threads:
        each.start()
    wait_until(lambda: len(group._queue) == 12)
    group._leading.release()
    for each in threads:
        each.join(20)
    stats = spool.stats()

    assert sorted(numbers) == list(range(1, 13))
    assert stats.pending + stats.dropped == 12
    assert stats.pending >= 4
    assert spool.check() == []


FULL_DISK = """
import resource
s = spool()
s.append(b'before')
def limit(room):
    size = max(each.stat().st_size for each in (PATH, PATH.with_name(PATH.name + '-wal')))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, resource.RLIM_INFINITY))
limit(20_000)
acknowledged, errors = 1, []
for _ in range(40):
    try: s.append(b'.' * 5000)
    except SpoolError as error: errors.append(error)
    else: acknowledged += 1
assert errors and acknowledged < 41, acknowledged
assert s.check() == []
limit(10_000_000)
for _ in range(10):
    s.append(b'after')
    acknowledged += 1
s.maintain()
say(acknowledged, s.last_seq(), s.check(), type(errors[0]).__name__)
s.close()
"""


def test_a_full_disk_is_an_error_at_the_call_and_with_room_it_goes_on(path: Path) -> None:
    acknowledged, stored, check, _ = run(FULL_DISK, path).split()

    assert acknowledged == stored
    assert len(payloads(path)) == int(stored)
    assert check == "[]"


def test_the_wal_stays_short_in_a_process_that_only_appends(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=1 << 30)
    longest = 0
    for i in range(10_000):
        spool.append(b"." * 2000)
        if not i % 200:
            spool.maintain()
            longest = max(longest, wal(path).stat().st_size)

    assert longest < 8 * MIB
    assert spool.check() == []


OLD_READER = """
import sqlite3
db = sqlite3.connect(PATH, isolation_level=None)
db.execute('BEGIN')
db.execute('SELECT count(*) FROM events').fetchall()
say('reading')
hear()
db.close()
"""


def test_a_program_that_reads_without_end_is_named_in_the_error(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=4 * MIB)
    count = spool.append(b"before")
    with process(OLD_READER, path) as reader:
        assert reader.hear() == "reading"

        def append_without_end() -> None:
            nonlocal count
            for _ in range(5000):
                spool.append(b"." * 1000)
                count += 1
                if not count % 100:
                    spool.maintain()

        with pytest.raises(SpoolFullError, match="some program reads the spool without end"):
            append_without_end()
        assert on_disk(path) <= 4 * MIB
        reader.say()
        reader.end()

    for _ in range(300):
        spool.append(b"after")
    spool.maintain()
    assert spool.last_seq() == count + 300
    assert wal(path).stat().st_size <= MIB // 2
    assert spool.check() == []


def test_marking_works_on_a_full_spool(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=MIB)
    fill_up(spool, (900, 1100), 2 * MIB)
    batch = spool.next_batch(50, MUCH)
    assert batch
    spool.mark_failed(batch, "error")
    again = spool.next_batch(50, MUCH)
    assert again
    spool.split(again)
    half = spool.next_batch(50, MUCH)
    assert half
    spool.mark_rejected(half, "reason", "summary")

    assert ask(path, "SELECT count(*) FROM rejected") == [(25,)]
    assert spool.check() == []
