"""Damage never keeps a worker from starting, and a corrupt file is kept whole."""

from __future__ import annotations

import re
import sqlite3
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolCorruptError, SpoolError, SpoolMismatchError
from tests.support.processes import process
from tests.support.spool_file import ask, checkpoint, payloads, quarantined, wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = 4096
MUCH = 1 << 20


def overwrite(path: Path, offset: int, content: bytes) -> None:
    """Damage a file that no connection of this process is on."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.fixture
def closed(path: Path) -> Path:
    """A spool of 300 events that no process has open."""
    spool = Spool(path, project_id="project")
    for _ in range(300):
        spool.append(b"." * 500)
    spool.close()
    wal(path).unlink()
    return path


DAMAGES: dict[str, Callable[[Path], object]] = {
    "the head is garbage": lambda path: overwrite(path, 0, b"\xff" * 100),
    "all is garbage": lambda path: path.write_bytes(bytes(range(256)) * 200),
    "the file is cut after its first page": lambda path: overwrite_with(path, path.read_bytes()[:PAGE]),
    "the file is cut within its head": lambda path: overwrite_with(path, path.read_bytes()[:50]),
    "it is a text": lambda path: path.write_text("This is no database. " * 100),
    "the schema is garbage": lambda path: overwrite(path, 100, b"\xff" * 400),
    "every page but the first is garbage": lambda path: overwrite(path, PAGE, b"\xa5" * 20 * PAGE),
}


def overwrite_with(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_corrupt_file_is_quarantined_whole_and_a_new_one_created(
    closed: Path, open_spool: Callable[..., Spool], damage: Callable[[Path], object]
) -> None:
    damage(closed)
    before = closed.read_bytes()
    spool = open_spool()
    number = spool.append(b"new")

    (kept,) = quarantined(closed)
    assert kept.read_bytes() == before
    assert re.fullmatch(r"spool\.db\.corrupt-\d{8}T[\d.]+Z-\d+", kept.name)
    (notice,) = spool.notices()
    assert str(kept) in notice
    assert (number, payloads(closed)) == (1, [b"new"])
    assert spool.check() == []


def test_a_quarantined_file_keeps_its_wal_beside_it(path: Path, open_spool: Callable[..., Spool]) -> None:
    script = "s = spool()\ncheckpoint()\ns.append(b'in the WAL')\nsay('open')\nhear()"
    with process(script, path) as writer:  # the WAL must not hold the first page, which SQLite would read from there
        writer.hear()
        writer.kill()
    content = wal(path).read_bytes()
    overwrite(path, 0, b"\xff" * 100)
    spool = open_spool()

    (kept,) = quarantined(path)
    assert wal(kept).read_bytes() == content
    assert len(content) > PAGE
    assert spool.append(b"new") == 1
    assert spool.check() == []


def test_a_quarantined_file_is_never_overwritten(closed: Path, open_spool: Callable[..., Spool]) -> None:
    for count in range(1, 6):
        overwrite_with(closed, b"damage %d" % count * 100)
        spool = open_spool()
        assert len(quarantined(closed)) == count
        spool.close()
        wal(closed).unlink()

    assert {each.read_bytes()[:8] for each in quarantined(closed)} == {b"damage %d" % count for count in range(1, 6)}


def test_an_empty_file_becomes_a_spool(path: Path, open_spool: Callable[..., Spool]) -> None:
    path.touch(0o600)
    spool = open_spool()

    assert spool.append(b"event") == 1
    assert quarantined(path) == []
    assert spool.check() == []


def test_a_folder_is_an_error_that_says_so(path: Path, open_spool: Callable[..., Spool]) -> None:
    path.mkdir()
    with pytest.raises(SpoolError, match="this is a folder"):
        open_spool()


def test_a_path_through_a_file_is_an_error(path: Path) -> None:
    path.touch()
    with pytest.raises(SpoolError, match="Check the path"):
        Spool(path / "spool.db", project_id="project")


def test_a_name_that_is_too_long_is_an_error(path: Path) -> None:
    with pytest.raises(SpoolError, match="Check the path"):
        Spool(path.with_name("n" * 300), project_id="project")


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_the_database_of_another_program_is_refused_and_left_untouched(
    path: Path, open_spool: Callable[..., Spool], mode: str
) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA journal_mode = {mode}")
        other.execute("CREATE TABLE precious (value)")
    before = path.read_bytes()
    with pytest.raises(SpoolMismatchError, match="another program's database"):
        open_spool()

    assert path.read_bytes() == before
    assert quarantined(path) == []


DAMAGE_FROM_OUTSIDE = f"""
import sqlite3
db = sqlite3.connect(f'file:{{PATH}}?mode=ro', uri=True)
(page,), = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events'")
db.close()
with PATH.open('r+b') as file:
    file.seek((page - 1) * {PAGE})
    file.write(b'\\xa5' * {PAGE})
    file.seek(10 * {PAGE})
    file.write(b'\\xa5' * {PAGE} * 20)
"""


@pytest.fixture
def damaged(closed: Path, open_spool: Callable[..., Spool]) -> Spool:
    """Return an open spool whose file is damaged by another process while it is open."""
    from tests.support.processes import run

    spool = open_spool()
    checkpoint(closed)
    run(DAMAGE_FROM_OUTSIDE, closed)
    return spool


def test_append_quarantines_a_corrupt_file_and_uses_a_new_one(damaged: Spool, closed: Path) -> None:
    assert damaged.append(b"new") == 1

    assert len(quarantined(closed)) == 1
    assert payloads(closed) == [b"new"]
    assert len(list(damaged.notices())) == 1
    assert damaged.check() == []


READS: dict[str, Callable[[Spool], object]] = {
    "next_batch": lambda spool: spool.next_batch(10, MUCH),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_corruption_found_by_a_reader_is_reported_once_and_quarantined(
    damaged: Spool, closed: Path, read: Callable[[Spool], object]
) -> None:
    with pytest.raises(SpoolCorruptError, match="Keep the file"):
        read(damaged)
    read(damaged)

    assert len(quarantined(closed)) == 1
    assert damaged.append(b"new") == 1
    assert damaged.next_batch(10, MUCH)
    assert len(list(damaged.notices())) == 1
    assert damaged.check() == []


def test_two_spools_of_a_process_quarantine_a_file_once(damaged: Spool, closed: Path) -> None:
    other = Spool(closed, project_id="project")
    numbers = sorted([damaged.append(b"one"), other.append(b"two")])
    other.close()

    assert numbers == [1, 2]
    assert len(quarantined(closed)) == 1
    assert damaged.check() == []


def test_workers_that_start_at_once_on_a_corrupt_file_lose_nothing(closed: Path) -> None:
    script = """
say('ready')
hear()
s = spool()
say('open')
for i in range(20): s.append(b'%d' % os.getpid())
hear()
s.close()
"""
    for _ in range(3):
        with suppress(FileNotFoundError):
            wal(closed).unlink()
        overwrite_with(closed, b"damage" * 1000)
        before = len(quarantined(closed))
        with ExitStack() as stack:
            workers = [stack.enter_context(process(script, closed)) for _ in range(6)]
            for each in workers:
                assert each.hear() == "ready"
            for each in workers:
                each.say()
            assert [each.hear() for each in workers] == ["open"] * 6
            for each in workers:
                each.say()
            for each in workers:
                each.end()
        assert len(quarantined(closed)) == before + 1
        assert len(payloads(closed)) == 6 * 20
        ask(closed, "PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_damaged_wal_costs_only_its_own_events_and_stops_nothing(
    path: Path, open_spool: Callable[..., Spool]
) -> None:
    with process("s = spool()\nfor _ in range(50): s.append(b'event')\nsay('open')\nhear()", path) as writer:
        writer.hear()
        writer.kill()
    size = wal(path).stat().st_size
    overwrite(wal(path), size // 2, b"\xff" * 100)
    spool = open_spool()

    assert 0 < spool.last_seq() < 50
    assert spool.append(b"new") == len(payloads(path))
    assert spool.check() == []
