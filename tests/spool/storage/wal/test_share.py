"""Only the first process that opens a spool checks if its WAL is intact. Later ones wait for it and for no other."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from alignai.spool.storage import wal_repair
from tests.support.processes import process
from tests.support.spool_file import payloads, wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alignai.spool import Spool

FRAME = 24 + 4096

WRITES = """
s = spool()
for number in range(int(sys.argv[2])): s.append(b'before %d' % number)
say('ready')
hear()
"""

STARTS = """
say('ready')
hear()
s = spool()
for number in range(20): s.append(sys.argv[2].encode() + b' %d' % number)
say(len(list(s.notices())))
hear()
s.close()
"""


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames were found each time that a WAL was looked at."""
    found: list[int] = []
    frames_beyond_damage = wal_repair.frames_beyond_damage

    def look(path: Path, page_size: int) -> object:
        frames = frames_beyond_damage(path, page_size)
        found.append(len(frames))
        return frames

    monkeypatch.setattr(wal_repair, "frames_beyond_damage", look)
    return found


def test_a_later_process_that_opens_a_spool_does_not_read_its_wal(
    path: Path, open_spool: Callable[..., Spool], looks: list[int]
) -> None:
    with process(WRITES, path, 50) as worker:
        assert worker.hear() == "ready"
        for _ in range(3):
            open_spool().append(b"event")
        assert looks == []
        worker.kill()
    open_spool().append(b"event")  # the spools of this process are open still
    assert looks == []


def test_the_first_process_to_open_a_spool_reads_its_wal_once(
    path: Path, open_spool: Callable[..., Spool], looks: list[int]
) -> None:
    with process(WRITES, path, 50) as worker:
        assert worker.hear() == "ready"
        worker.kill()
    for _ in range(3):
        open_spool()
    assert looks == [0]


def test_processes_that_start_at_once_on_a_damaged_wal_write_over_nothing(path: Path) -> None:
    with process(WRITES, path, 400) as worker:
        assert worker.hear() == "ready"
        worker.kill()
    with wal(path).open("r+b") as wal_file:
        wal_file.seek(32 + 300 * FRAME + 100)
        wal_file.write(b"damage" * 10)
    with ExitStack() as stack:
        starting = [stack.enter_context(process(STARTS, path, f"worker{number}")) for number in range(5)]
        assert [each.hear() for each in starting] == ["ready"] * 5
        for each in starting:
            each.say()
        assert sorted(each.hear() for each in starting) == ["0", "0", "0", "0", "1"]
        for each in starting:
            each.say()
            each.end()
    kept = set(payloads(path))
    assert kept >= {b"worker%d %d" % (worker, number) for worker in range(5) for number in range(20)}
    (kept,) = [each for each in path.parent.glob("*.corrupt-*-wal") if each.stat().st_size]
    assert kept.stat().st_size > 50 * FRAME
