"""A gap in the WAL is noticed although the WAL has grown over it, and nothing else is taken for one."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from alignai.spool.storage import redo
from alignai.spool.storage.wal.gap import last_commit
from alignai.spool.storage.wal.parser import WAL_HEADER_SIZE, read_header
from tests.spool.storage.test_page_size import rebuild
from tests.support.processes import process
from tests.support.spool_file import ask, payloads, wal
from tests.support.waiting import wait_until_verification_is_due

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alignai.spool import Spool

FRAME = 4096 + 24
EVENTS = [b"event %03d" % number + b"." * 300 for number in range(200)]
ZEROS = bytes(150)
WORKER = """
s = spool()
while words := hear().split():
    if words[0] == 'append': s.append(words[1].encode())
    if words[0] == 'maintain': s.maintain()
    say('done')
"""


@pytest.fixture(autouse=True)
def _long_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine however slow, each event is among the last ones."""
    monkeypatch.setattr(redo, "DELETING_SECONDS", 60.0)


def cut_off(path: Path, size: int) -> None:
    os.truncate(path, path.stat().st_size - size)


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def after_a_crash(path: Path) -> Path:
    """The spool as the next process finds it if all are killed now: without its wal-index."""
    copy = path.parent / "copy"
    shutil.copytree(path.parent, copy, ignore=shutil.ignore_patterns("*-shm", "copy"))
    return copy / path.name


def has_gap(path: Path) -> bool:
    with wal(path).open("rb") as wal_file:
        return last_commit(wal_file.fileno(), read_header(wal_file.fileno())) is None


@pytest.mark.parametrize("missing", [1, 3, 1000, FRAME - 20, FRAME - 10, FRAME - 4, FRAME, 5 * FRAME])
@pytest.mark.parametrize(("synchronous", "seen"), [("normal", True), ("normal", False), ("full", False)])
def test_a_wal_cut_short_behind_what_was_seen_of_it_is_noticed(
    path: Path, open_spool: Callable[..., Spool], missing: int, synchronous: str, *, seen: bool
) -> None:
    spool = open_spool(synchronous=synchronous)
    spool.append(b"first")
    wait_until_verification_is_due()
    for event in EVENTS[:50]:
        spool.append(event)
    if seen:
        wait_until_verification_is_due()
        spool.append(b"seen")
    cut_off(wal(path), missing)
    for event in EVENTS[50:60]:  # goes on behind the gap
        spool.append(event)
    wait_until_verification_is_due()
    assert spool.append(b"after")
    expected = [b"first", *EVENTS[:50], *[b"seen"] * seen, *EVENTS[50:60], b"after"]
    assert payloads(path) == expected
    assert len(list(spool.notices())) == 1
    spool.maintain()
    assert payloads(after_a_crash(path)) == expected
    assert spool.check() == []


@pytest.mark.parametrize("size", [512, 65536])
def test_a_gap_between_pages_of_any_size_is_noticed(path: Path, open_spool: Callable[..., Spool], size: int) -> None:
    open_spool().close()
    rebuild(path, size)
    spool = open_spool()
    for number in range(5):
        for event in EVENTS[:20]:
            spool.append(b"%d " % number + event)
        cut_off(wal(path), 100)
    spool.append(b"after")  # goes on behind the last gap
    spool.maintain()
    expected = [*[b"%d " % number + event for number in range(5) for event in EVENTS[:20]], b"after"]
    assert sorted(payloads(path)) == sorted(expected)
    assert sorted(payloads(after_a_crash(path))) == sorted(expected)
    assert spool.check() == []


@pytest.mark.parametrize("kept", [100, 2000])
def test_a_gap_behind_which_the_page_ends_in_zeros_anyway_is_noticed(spool: Spool, path: Path, kept: int) -> None:
    for event in EVENTS[:20]:
        spool.append(event + ZEROS)
    cut_off(wal(path), FRAME - kept)
    for event in EVENTS[20:40]:
        spool.append(event + ZEROS)
    assert has_gap(path)
    wait_until_verification_is_due()
    spool.append(b"after")
    assert not has_gap(path)
    assert payloads(path) == [*[event + ZEROS for event in EVENTS[:40]], b"after"]


def test_a_wal_that_is_emptied_before_the_first_look_is_noticed(path: Path, open_spool: Callable[..., Spool]) -> None:
    open_spool().close()
    ask(path, "SELECT 1 FROM events")  # the last to close it deletes the WAL
    spool = open_spool()
    assert wal(path).stat().st_size == 0
    spool.append(b"first")
    os.truncate(wal(path), 0)
    spool.append(b"second")
    wait_until_verification_is_due()
    spool.append(b"after")
    assert payloads(path) == [b"first", b"second", b"after"]
    assert len(list(spool.notices())) == 1


def test_a_gap_is_noticed_by_the_processes_that_did_not_write_over_it(spool: Spool, path: Path) -> None:
    with process(WORKER, path) as one, process(WORKER, path) as other:
        for number in range(20):
            one.ask(f"append one-{number}")
            other.ask(f"append other-{number}")
        for number in range(20, 60, 10):
            cut_off(wal(path), 1000)
            for each in range(number, number + 10):
                one.ask(f"append one-{each}")
            wait_until_verification_is_due()
            for each in range(number, number + 10):
                other.ask(f"append other-{each}")
                spool.append(b"ours-%d" % each)
        for worker in (one, other):
            worker.ask("maintain")
        one.kill()
        other.kill()
    spool.maintain()
    names = {f"{name}-{number}".encode() for name in ("one", "other", "ours") for number in range(20, 60)}
    assert names <= {*payloads(path)}
    assert spool.check() == []


def test_zeros_in_the_middle_of_the_wal_do_not_get_into_the_file(spool: Spool, path: Path) -> None:
    for event in EVENTS:
        spool.append(event)
    wait_until_verification_is_due()
    spool.append(b"seen")
    overwrite(wal(path), WAL_HEADER_SIZE + 20 * FRAME, bytes(50 * FRAME))
    spool._database.connections().checkpoint()
    assert spool.append(b"after")
    wait_until_verification_is_due()
    assert spool.append(b"end")
    assert payloads(path) == [*EVENTS, b"seen", b"after", b"end"]
    assert len(list(spool.notices())) == 1
    assert spool.check() == []
