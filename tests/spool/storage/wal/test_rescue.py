"""A damaged WAL is noticed. SQLite treats its first damaged frame as its end and would overwrite the rest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolCorruptError
from alignai.spool.salvage.rebuild import salvage
from alignai.spool.storage.wal.parser import committed_frames
from alignai.spool.storage.wal.rescue import frames_beyond_damage
from tests.support.processes import process
from tests.support.spool_file import ask, payloads, quarantined, wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAME = 4096 + 24
EVENTS = [b"event %d" % number for number in range(100)]
MUCH = 1 << 20


@pytest.fixture
def killed(path: Path) -> Path:
    """Return a spool left by a killed process. All its events are in the WAL."""
    script = "s = spool()\ncheckpoint()\nfor i in range(100): s.append(b'event %d' % i)\nsay('open')\nhear()"
    with process(script, path) as writer:
        writer.hear()
        writer.kill()
    return path


def frames(path: Path) -> int:
    descriptor = os.open(wal(path), os.O_RDONLY)
    try:
        return len(committed_frames(descriptor, 4096))
    finally:
        os.close(descriptor)


def overwrite(path: Path, frame: int, content: bytes = b"\xa5" * 100) -> None:
    with wal(path).open("r+b") as file:
        file.seek(32 + frame * FRAME + 2000)
        file.write(content)


def test_commits_behind_a_damaged_frame_can_be_salvaged(killed: Path, open_spool: Callable[..., Spool]) -> None:
    overwrite(killed, frames(killed) - 40)
    spool = open_spool()
    spool.append(b"new")

    (notice,) = spool.notices()
    (kept,) = quarantined(killed)
    assert "write-ahead log" in notice
    assert f"salvage {kept} NEW --project-id project" in notice
    assert 0 < len(payloads(killed)) < 100
    salvage(kept, killed.with_name("saved.db"), "project")
    saved = [each for each in payloads(killed.with_name("saved.db")) if each]
    assert {*payloads(killed), *saved} == {*EVENTS, b"new"}
    assert spool.check() == []


SENT_AND_MOVED = """
s = spool()
while batch := s.next_batch(10, 1 << 20): s.mark_sent(batch)
checkpoint()
say('moved')
hear()
"""


def test_a_spool_inconsistent_without_its_wal_end_is_quarantined(
    killed: Path, open_spool: Callable[..., Spool]
) -> None:
    """The file is newer than the part of the WAL that SQLite still sees."""
    before = frames(killed)
    with process(SENT_AND_MOVED, killed) as sender:
        sender.hear()
        sender.kill()
    overwrite(killed, before - 40)
    spool = open_spool()

    (kept,) = quarantined(killed)
    assert wal(kept).exists()
    assert payloads(killed) == []
    assert spool.append(b"new") == 1
    assert spool.check() == []


def test_close_leaves_a_short_wal_and_every_event_in_the_file(path: Path, open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    for event in EVENTS:
        spool.append(event)
    spool.close()

    assert wal(path).stat().st_size == 32 + FRAME
    wal(path).unlink()
    assert payloads(path) == EVENTS


def test_an_intact_wal_gives_no_notice(killed: Path, open_spool: Callable[..., Spool]) -> None:
    for _ in range(3):
        spool = open_spool()
        spool.append(b"more")
        assert frames_beyond_damage(killed, 4096) == []
        assert list(spool.notices()) == []
    assert quarantined(killed) == []
    assert list(killed.parent.glob(f".{killed.name}.log-*")) == []


def test_an_unfinished_commit_of_a_dead_process_gives_no_notice(killed: Path, open_spool: Callable[..., Spool]) -> None:
    """The last frame marks the end of a commit. Without it there was no commit."""
    os.truncate(wal(killed), wal(killed).stat().st_size - 5)
    spool = open_spool()

    assert list(spool.notices()) == []
    assert spool.check() == []


def test_a_new_spool_with_a_damaged_wal_is_not_created_again_over_it(
    path: Path, open_spool: Callable[..., Spool]
) -> None:
    with process("s = spool()\nfor i in range(100): s.append(b'event %d' % i)\nsay('open')\nhear()", path) as writer:
        writer.hear()
        writer.kill()
    overwrite(path, 0)
    content = wal(path).read_bytes()
    spool = open_spool()

    (kept,) = quarantined(path)
    assert wal(kept).read_bytes() == content
    assert len(list(spool.notices())) == 1
    assert spool.append(b"new") == 1


def test_a_half_created_spool_is_created_again_without_a_notice(path: Path, open_spool: Callable[..., Spool]) -> None:
    """A power cut may leave the end of the only commit without its beginning. Nothing was appended before."""
    with process("s = spool()\nsay('open')\nhear()", path) as writer:
        writer.hear()
        writer.kill()
    assert path.stat().st_size == 4096  # everything that makes it a spool is in the WAL
    overwrite(path, 0)
    spool = open_spool()

    assert quarantined(path) == []
    assert list(spool.notices()) == []
    assert spool.append(b"new") == 1
    assert spool.check() == []


def test_a_wal_beside_an_empty_file_is_kept(killed: Path, open_spool: Callable[..., Spool]) -> None:
    """SQLite would delete it."""
    content = wal(killed).read_bytes()
    killed.write_bytes(b"")
    spool = open_spool()

    (kept,) = quarantined(killed)
    assert wal(kept).read_bytes() == content
    assert len(list(spool.notices())) == 1
    assert spool.append(b"new") == 1


@pytest.mark.parametrize("written_at", ["before the machine started", "since then"])
def test_only_losses_of_a_power_cut_are_reported_as_permitted(
    killed: Path, open_spool: Callable[..., Spool], written_at: str
) -> None:
    """A disk writes unsynced data in any order, so commits may be in the WAL behind one that is missing."""
    overwrite(killed, frames(killed) - 40)
    if written_at == "before the machine started":
        os.utime(wal(killed), (0, 0))
    spool = open_spool()

    (notice,) = spool.notices()
    (kept,) = quarantined(killed)
    assert notice.allowed == (written_at == "before the machine started")
    assert ("after a power loss" in notice) == notice.allowed
    assert "commits in its write-ahead log could not be applied" in notice
    assert f"They were moved to {kept}." in notice
    assert f"salvage {kept} NEW --project-id project" in notice


# -- rows that have vanished -------------------------------------------------------------------------------------------


def test_a_spool_that_lost_rows_counted_as_sent_is_quarantined(path: Path, open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    for event in EVENTS:
        spool.append(event)
    batch = spool.next_batch(100, MUCH)
    assert batch
    spool.mark_sent(batch)
    spool.close()
    ask(path, "DELETE FROM events WHERE seq > 50")
    spool = open_spool()
    spool.append(b"new")

    assert len(quarantined(path)) == 1
    assert payloads(path) == [b"new"]
    assert spool.next_batch(10, MUCH)


def test_a_file_with_a_gap_among_pending_events_is_quarantined(path: Path, open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    for event in EVENTS:
        spool.append(event)
    ask(path, "DELETE FROM events WHERE seq BETWEEN 20 AND 29")
    with pytest.raises(SpoolCorruptError, match="vanished"):
        spool.next_batch(50, MUCH)

    assert len(quarantined(path)) == 1
    assert spool.next_batch(50, MUCH) is None
    assert len(list(spool.notices())) == 1


@pytest.mark.parametrize("version", [-5, 0, 100_000])
def test_a_version_that_none_can_have_is_damage(path: Path, open_spool: Callable[..., Spool], version: int) -> None:
    spool = open_spool()
    spool.append(b"event")
    spool.close()
    ask(path, f"PRAGMA user_version = {version}")
    spool = open_spool()

    assert len(quarantined(path)) == 1
    assert spool.append(b"new") == 1
