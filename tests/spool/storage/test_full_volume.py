"""On a full volume events are refused. Stored events can still be uploaded, settled, purged and deleted."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolFullError
from alignai.spool.storage.paths import is_reserve_in_use, reserve_of
from alignai.spool.storage.reserve import Reserve
from tests.support.bad_disk import cannot_mount, fill, small_disk
from tests.support.processes import run
from tests.support.spool_file import ask, on_disk, payloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KIB = 1 << 10
MIB = 1 << 20

needs_a_disk = pytest.mark.skipif(bool(cannot_mount()), reason=cannot_mount() or "a disk can be mounted")


@pytest.fixture(params=[MIB, 3 * MIB], ids=["1 MiB", "3 MiB"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A volume of its own, so small that it can be filled."""
    with small_disk(tmp_path / "disk", request.param) as disk:
        yield disk


@pytest.fixture
def volume_spool(disk: Path) -> Iterator[Callable[..., Spool]]:
    """Return a function that opens the spool on the small volume. All are closed at the end."""
    spools: list[Spool] = []

    def opened(**options: object) -> Spool:
        spools.append(Spool(disk / "spool.db", **({"project_id": "project"} | options)))  # type: ignore[arg-type]
        return spools[-1]

    yield opened
    for spool in spools:
        spool.close()


def fill_up(spool: Spool, size: int = 500) -> int:
    """Append until the spool refuses and return the number of appended events."""
    count = 0
    with suppress(SpoolFullError):
        while count < 100_000:
            spool.append(random.randbytes(size))
            count += 1
    return count


def drain(spool: Spool, size: int = 50) -> int:
    sent = 0
    while batch := spool.next_batch(size, MIB):
        spool.mark_sent(batch)
        sent += len(batch)
    return sent


def drain_with_upkeep(spool: Spool) -> int:
    sent = 0
    while batch := spool.next_batch(50, MIB):
        spool.mark_sent(batch)
        sent += len(batch)
        if not sent % 250:
            spool.maintain()
    spool.maintain()
    return sent


@needs_a_disk
@pytest.mark.parametrize("size", [200, 900, 5000])
def test_a_volume_filled_by_the_spool_alone_drains_and_takes_events_again(
    volume_spool: Callable[..., Spool], size: int
) -> None:
    spool = volume_spool(retention=0)
    count = fill_up(spool, size)
    with pytest.raises(SpoolFullError, match="volume is full"):
        spool.append(b"." * size)
    assert spool.stats().pending == count

    assert drain_with_upkeep(spool) == count
    assert spool.check() == []
    assert fill_up(spool, size) > count / 2
    assert spool.check() == []


@needs_a_disk
@pytest.mark.parametrize("leave", [0, 4096, 20_000])
@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_everything_is_sent_from_a_volume_that_something_else_fills(
    volume_spool: Callable[..., Spool], disk: Path, leave: int, synchronous: str
) -> None:
    spool = volume_spool(synchronous=synchronous)
    for _ in range(300):
        spool.append(random.randbytes(500))
    filler = fill(disk, leave)
    count = 300 + fill_up(spool)

    assert drain(spool) >= count
    assert spool.stats().in_flight + spool.stats().pending == 0
    assert spool.check() == []
    filler.unlink()
    spool.maintain()
    last = spool.last_seq()
    for _ in range(100):
        spool.append(b"after")
    assert spool.last_seq() == last + 100
    assert not is_reserve_in_use(spool.path)
    assert spool.check() == []


FRESH = """
s = spool()
sent = 0
while batch := s.next_batch(50, 1 << 20):
    s.mark_sent(batch)
    sent += len(batch)
    s.maintain()
say(sent, s.stats().pending, s.check())
s.close()
"""


@needs_a_disk
@pytest.mark.parametrize("ended", ["closed", "killed"])
def test_a_fresh_process_opens_a_full_volume_and_sends_all(
    volume_spool: Callable[..., Spool], disk: Path, ended: str
) -> None:
    spool = volume_spool()
    for _ in range(400):
        spool.append(random.randbytes(500))
    if ended == "killed":
        run(KILLED, spool.path)
    spool.close()
    filler = fill(disk)
    try:
        assert run(FRESH, spool.path) == "400 0 []"
        assert run(FRESH, spool.path) == "0 0 []"
    finally:
        filler.unlink()
    spool = volume_spool()
    assert spool.append(b"after") == 401
    assert spool.check() == []


KILLED = """
s = spool()
s.next_batch(50, 1 << 20)
os.kill(os.getpid(), 9) if not os.fork() else os.wait()
"""


@needs_a_disk
@pytest.mark.parametrize("size", [20_000, 3 * MIB, 8 * MIB])
def test_rejecting_megabytes_works_on_a_full_volume(tmp_path: Path, size: int) -> None:
    with small_disk(tmp_path / "disk", 48 * MIB) as disk:
        spool = Spool(disk / "spool.db", project_id="project")
        for _ in range(max(3, 8 * MIB // size)):
            spool.append(random.randbytes(size))
        spool.maintain()  # there is no longer WAL than the reserve is for
        fill(disk)
        fill_up(spool, size)
        rejected = 0
        for _ in range(2):
            batch = spool.next_batch(1000, 4 * MIB)
            assert batch
            spool.mark_rejected(batch, "reason", "summary")
            rejected += len(batch)
        assert spool.stats().rejected == rejected
        assert spool.check() == []
        spool.close()


@needs_a_disk
@pytest.mark.parametrize("state", ["pending", "sent", "rejected"])
def test_purging_works_on_a_full_volume(volume_spool: Callable[..., Spool], disk: Path, state: str) -> None:
    spool = volume_spool()
    for _ in range(400):
        spool.append(random.randbytes(500))
    if state == "rejected":
        while batch := spool.next_batch(50, MIB):
            spool.mark_rejected(batch, "reason", "summary")
    if state == "sent":
        drain(spool)
    fill(disk)
    fill_up(spool)
    selection = spool.select(state)

    assert spool.purge(selection) == selection.events
    assert spool.stats().pending == 0 or state != "pending"
    assert spool.check() == []


@needs_a_disk
def test_stats_tell_that_the_volume_is_full_whatever_went_wrong_before(
    volume_spool: Callable[..., Spool], disk: Path
) -> None:
    spool = volume_spool()
    for _ in range(100):
        spool.append(b"." * 500)
    batch = spool.next_batch(10, MIB)
    assert batch
    spool.mark_failed(batch, "the server is down")
    assert spool.stats().last_error == "the server is down"
    filler = fill(disk)
    fill_up(spool)
    spool.maintain()
    told = spool.stats().last_error
    assert told
    assert "the volume is full" in told

    filler.unlink()
    spool.maintain()
    assert spool.stats().last_error == "the server is down"


@needs_a_disk
@pytest.mark.parametrize("on_full", ["drop_oldest", "block"])
def test_on_full_holds_on_a_full_volume(volume_spool: Callable[..., Spool], disk: Path, on_full: str) -> None:
    """Dropped or sent events make room in the file, which does not grow."""
    spool = volume_spool(on_full=on_full, retention=0)
    for _ in range(400):
        spool.append(random.randbytes(500))
    fill(disk)
    fill_up(volume_spool())
    before = spool.last_seq()
    sent = drain(spool) if on_full == "block" else 0
    for _ in range(200):
        spool.append(random.randbytes(500))
    stats = spool.stats()

    assert spool.last_seq() == before + 200
    assert sent + stats.dropped + stats.pending == before + 200
    assert stats.pending >= 200
    assert stats.dropped < before / 2 + 200
    assert spool.check() == []


@needs_a_disk
def test_other_processes_do_not_take_the_room_that_was_kept(volume_spool: Callable[..., Spool], disk: Path) -> None:
    one, other = volume_spool(), volume_spool()
    for _ in range(300):
        one.append(random.randbytes(500))
    fill(disk)
    count = 300 + fill_up(one)
    sent = 0
    while batch := one.next_batch(20, MIB):
        one.mark_sent(batch)
        sent += len(batch)
        count += fill_up(other) if count < 3000 else 0

    assert sent == count
    assert one.check() == []


def test_reaching_max_spool_bytes_is_not_reported_as_a_full_disk(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(max_bytes=MIB)
    fill_up(spool)
    with pytest.raises(SpoolFullError, match=r"limit of 1048576 bytes\. Raise max_spool_bytes") as told:
        spool.append(b"." * 500)
    assert "volume" not in str(told.value)


def test_the_reserve_counts_in_max_spool_bytes(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(max_bytes=MIB)
    assert reserve_of(path).stat().st_size >= 64 * KIB
    assert reserve_of(path).stat().st_mode & 0o777 == 0o600
    fill_up(spool)

    assert on_disk(path) + reserve_of(path).stat().st_size <= MIB


def test_a_reserve_that_was_deleted_is_made_again(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool()
    reserve_of(path).unlink()
    assert spool.stats().last_error is None
    spool.append(b"event")
    spool.maintain()
    assert reserve_of(path).stat().st_size


def test_a_reserve_that_cannot_be_made_is_done_without(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    reserve_of(path).mkdir()
    reserve = Reserve(path, MIB)
    assert reserve.keep()
    shutil.rmtree(reserve_of(path))
    assert reserve.keep()
    assert reserve.size == MIB


def test_the_ledger_stays_whole_if_the_volume_fills_up_in_the_middle_of_it(path: Path) -> None:
    assert run(LIMITED, path) == "400 []"
    assert len(payloads(path)) == 400
    assert ask(path, "SELECT sent FROM spool") == [(400,)]


LIMITED = """
import resource
s = spool()
for _ in range(400): s.append(os.urandom(500))
sizes = [each.stat().st_size for each in PATH.parent.iterdir() if not each.name.endswith('.reserve')]
resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes) + 10_000, resource.RLIM_INFINITY))
sent = 0
while batch := s.next_batch(20, 1 << 20):
    s.mark_sent(batch)
    sent += len(batch)
say(sent, s.check())
s.close()
"""
