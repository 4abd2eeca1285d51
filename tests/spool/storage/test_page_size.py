"""A spool may have pages of any size: its own page size counts, in the file and in the WAL."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING, Literal

import pytest

from alignai.spool import Spool, SpoolFullError, SpoolVersionError
from alignai.spool.salvage.rebuild import salvage
from alignai.spool.storage import preparation
from alignai.spool.storage.sqlite import connect
from alignai.spool.storage.wal.parser import header_of
from tests.support.processes import process
from tests.support.spool_file import ask, on_disk, payloads, wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZES = [512, 1024, 8192, 16384, 65536]
EVENTS = [b"event %d" % number for number in range(100)]
LARGE = b"large" * 40_000
MUCH = 1 << 20
BIG = 0x83
"""The last byte of a WAL's magic number, if its checksums are made of big-endian words."""

Order = Literal["big", "little"]
APPENDS = """
s = spool()
checkpoint()
for i in range(100): s.append(b'event %d' % i)
say('open')
hear()
"""


def rebuild(path: Path, size: int) -> None:
    """Give the spool other pages, as a person does."""
    for statement in ("journal_mode = DELETE", f"page_size = {size}"):
        ask(path, f"PRAGMA {statement}")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute(f"PRAGMA page_size = {size}")
    connection.execute("VACUUM")
    assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    connection.close()
    assert ask(path, "PRAGMA page_size") == [(size,)]


def kill_writer(path: Path) -> None:
    with process(APPENDS, path) as writer:
        assert writer.hear() == "open"
        writer.kill()


def append_for_ever(spool: Spool) -> None:
    while True:
        spool.append(b"x" * 10_000)


def checksum(data: bytes, order: Order, before: bytes = bytes(8)) -> bytes:
    """Go on with SQLite's checksum of a WAL."""
    one, two = int.from_bytes(before[-8:-4]), int.from_bytes(before[-4:])
    for at in range(0, len(data), 8):
        one = (one + int.from_bytes(data[at : at + 4], order) + two) & 0xFFFFFFFF
        two = (two + int.from_bytes(data[at + 4 : at + 8], order) + one) & 0xFFFFFFFF
    return one.to_bytes(4) + two.to_bytes(4)


def set_header(path: Path, at: int, value: int) -> None:
    """Change the header of the WAL, so that its checksum holds still."""
    content = wal(path).read_bytes()
    header = content[:at] + value.to_bytes(4) + content[at + 4 : 24]
    wal(path).write_bytes(header + checksum(header, "big" if header[3] == BIG else "little") + content[32:])
    assert header_of(wal(path).read_bytes()).sound


@pytest.fixture(params=SIZES)
def rebuilt(path: Path, request: pytest.FixtureRequest) -> Path:
    Spool(path, project_id="project").close()
    rebuild(path, request.param)
    return path


def test_events_survive_a_kill_at_any_page_size(rebuilt: Path, open_spool: Callable[..., Spool]) -> None:
    kill_writer(rebuilt)
    content = wal(rebuilt).read_bytes()
    spool = open_spool()

    assert wal(rebuilt).read_bytes() == content
    assert list(spool.notices()) == []
    batch = spool.next_batch(200, MUCH)
    assert batch
    assert list(batch.payloads) == EVENTS
    spool.append(LARGE)
    assert spool.check() == []


def test_commits_behind_a_damaged_frame_are_salvaged_at_any_page_size(
    rebuilt: Path, open_spool: Callable[..., Spool]
) -> None:
    kill_writer(rebuilt)
    frame = header_of(wal(rebuilt).read_bytes()).page_size + 24
    with wal(rebuilt).open("r+b") as wal_file:
        wal_file.seek(32 + ((wal_file.seek(0, 2) - 32) // frame // 2) * frame + 200)
        wal_file.write(b"\xa5" * 100)
    spool = open_spool()

    (notice,) = spool.notices()
    kept = next(each for each in rebuilt.parent.glob("*.corrupt-*") if not each.name.endswith("-wal"))
    assert str(kept) in notice
    assert spool.append(b"new")
    salvage(kept, kept.with_name("saved.db"), "project")
    assert {*payloads(rebuilt), *payloads(kept.with_name("saved.db"))} - {b""} == {*EVENTS, b"new"}


@pytest.mark.parametrize("head", ["sound", "damaged"])
def test_everything_is_salvaged_whatever_the_page_size(rebuilt: Path, head: str) -> None:
    spool = Spool(rebuilt, project_id="project")
    spool.append(LARGE)
    spool.close()
    kill_writer(rebuilt)
    if head == "damaged":
        with rebuilt.open("r+b") as file:
            file.write(b"\xa5" * 100)
    new = rebuilt.with_name("new.db")
    salvaged = salvage(rebuilt, new, "project")

    assert salvaged.unreadable == 0
    assert payloads(new) == [LARGE, *EVENTS]
    assert ask(new, "PRAGMA page_size") == [(4096,)]


def test_the_limit_holds_whatever_the_page_size(rebuilt: Path, open_spool: Callable[..., Spool]) -> None:
    limit = 4 << 20
    spool = open_spool(max_bytes=limit)
    with pytest.raises(SpoolFullError):
        append_for_ever(spool)
    assert limit // 4 < on_disk(rebuilt) <= limit
    while batch := spool.next_batch(50, MUCH):
        spool.mark_sent(batch)
    assert spool.append(b"more")
    assert spool.check() == []


def test_pages_too_large_for_the_limit_are_an_error_that_says_so(path: Path, open_spool: Callable[..., Spool]) -> None:
    Spool(path, project_id="project").close()
    rebuild(path, 65536)
    with pytest.raises(SpoolFullError, match=r"pages of 65536 bytes.*Raise max_spool_bytes"):
        append_for_ever(open_spool(max_bytes=1 << 20))


def test_a_file_rebuilt_beside_live_workers_keeps_its_events(path: Path, open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    spool.append(b"before")
    with process("s = spool()\nsay('open')\nhear()\ns.append(b'theirs')\nsay('done')\nhear()", path) as other:
        other.hear()
        ask(path, "PRAGMA page_size = 8192")
        ask(path, "VACUUM")
        spool.append(b"ours")
        other.ask()
        other.kill()
    assert payloads(path) == [b"before", b"ours", b"theirs"]
    assert list(spool.notices()) == spool.check() == []


def test_a_new_spool_has_pages_of_4096_bytes_with_any_build_of_sqlite(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built_otherwise(*args: object, **kwargs: object) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)  # type: ignore[arg-type]
        connection.execute("PRAGMA page_size = 16384")
        return connection

    monkeypatch.setattr(preparation, "connect", built_otherwise)
    Spool(path, project_id="project").close()
    assert ask(path, "PRAGMA page_size") == [(4096,)]


def test_a_wal_of_the_other_byte_order_is_understood(path: Path, open_spool: Callable[..., Spool]) -> None:
    """SQLite takes the order of the words that the checksums are made of from the header's last bit."""
    kill_writer(path)
    content = wal(path).read_bytes()
    order: Order = "little" if content[3] == BIG else "big"
    header = content[:3] + bytes([content[3] ^ 1]) + content[4:24]
    before = checksum(header, order)
    turned = header + before
    for at in range(32, len(content) - 4119, 4120):
        frame = content[at : at + 4120]
        before = checksum(frame[:8] + frame[24:], order, before)
        turned += frame[:16] + before + frame[24:]
    wal(path).write_bytes(turned)
    spool = open_spool()

    assert wal(path).read_bytes() == turned
    assert list(spool.notices()) == []
    assert payloads(path) == EVENTS


def test_a_wal_whose_frames_do_not_match_its_header_is_quarantined(
    path: Path, open_spool: Callable[..., Spool]
) -> None:
    kill_writer(path)
    set_header(path, 12, 99)
    spool = open_spool()

    spool.append(b"new")
    (notice,) = spool.notices()
    kept = next(each for each in path.parent.glob("*.corrupt-*") if not each.name.endswith("-wal"))
    assert str(kept) in notice
    salvage(kept, kept.with_name("saved.db"), "project")
    assert {*payloads(path), *payloads(kept.with_name("saved.db"))} - {b""} == {*EVENTS, b"new"}


def test_a_wal_with_another_page_size_than_the_file_is_quarantined(
    path: Path, tmp_path: Path, open_spool: Callable[..., Spool]
) -> None:
    other = tmp_path / "other" / "spool.db"
    Spool(other, project_id="project").close()
    rebuild(other, 8192)
    kill_writer(other)
    spool = Spool(path, project_id="project")
    spool.append(b"kept")
    spool.close()
    ask(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(wal(other), wal(path))
    content = wal(path).read_bytes()
    spool = open_spool()

    (notice,) = spool.notices()
    kept = next(each for each in path.parent.glob("*.corrupt-*") if not each.name.endswith("-wal"))
    assert str(kept) in notice
    assert wal(kept).read_bytes() == content
    salvage(kept, path.with_name("saved.db"), "project")
    assert {b"kept", *EVENTS} <= {*payloads(path.with_name("saved.db"))}


def test_a_wal_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    kill_writer(path)
    set_header(path, 4, 3007001)
    content = wal(path).read_bytes()
    with pytest.raises(SpoolVersionError, match="write-ahead log has format 3007001"):
        Spool(path, project_id="project")
    assert wal(path).read_bytes() == content


@pytest.mark.parametrize("content", [b"\0" * 32, b"\xa5" * 32, b"\x37\x7f\x06\x84"])
def test_a_wal_whose_header_is_not_understood_is_kept_whole(
    path: Path, open_spool: Callable[..., Spool], content: bytes
) -> None:
    kill_writer(path)
    with wal(path).open("r+b") as file:
        file.write(content)
    content = wal(path).read_bytes()
    spool = open_spool()

    (notice,) = spool.notices()
    kept = next(each for each in path.parent.glob("*.corrupt-*") if not each.name.endswith("-wal"))
    assert str(kept) in notice
    assert wal(kept).read_bytes() == content
    spool.append(b"new")
    salvage(kept, kept.with_name("saved.db"), "project")
    assert {*payloads(path), *payloads(kept.with_name("saved.db"))} - {b""} == {*EVENTS, b"new"}
    assert list(open_spool().notices()) == []
