"""A file that another program truncates while workers have it open is noticed, and readable events are kept."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolError
from alignai.spool.salvage.rebuild import salvage
from tests.support.processes import process, run
from tests.support.spool_file import ask, payloads, quarantined, shm, wal
from tests.support.waiting import wait_until_verification_is_due

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAME = 4096 + 24
EVENTS = [b"event %03d" % number + b"." * 300 for number in range(300)]
WORKER = """
s = spool()
while words := hear().split():
    try:
        if words[0] == 'append': s.append(words[1].encode())
        if words[0] == 'maintain': s.maintain()
        if words[0] == 'notices': print(*[n for n in s.notices()], sep=' | ', flush=True); continue
        say('done')
    except SpoolError as error: say(type(error).__name__, error)
"""


LOOKS = """
from alignai.spool.storage.readonly import open_readonly
try:
    with open_readonly(PATH): pass
except SpoolError as error: say(error)
"""


def settle(spool: Spool) -> None:
    """Let the rows be in the file and verified, so that they would not be appended again."""
    spool._maintenance.finish()


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def cut_to_header(path: Path) -> None:
    os.truncate(path, 32)


def cut_within_frame(path: Path) -> None:
    os.truncate(path, 32 + (path.stat().st_size - 32) // FRAME // 2 * FRAME + 2000)


def blank_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(32))


CUTS = [cut_to_nothing, cut_to_header, cut_within_frame, blank_header]


@pytest.mark.parametrize("cut", CUTS)
def test_a_wal_cut_short_costs_no_event_that_was_just_acknowledged(
    spool: Spool, path: Path, cut: Callable[[Path], None]
) -> None:
    for event in EVENTS:
        spool.append(event)
    cut(wal(path))
    wait_until_verification_is_due()
    assert spool.append(b"after")

    notices = list(spool.notices())
    assert payloads(path) == [*EVENTS, b"after"]
    if cut is blank_header:  # it is known, so that nothing is lost
        assert notices == []
    else:
        assert len(notices) == 1
        assert "cut short or overwritten" in notices[0]
    assert spool.check() == []
    run("assert spool().append(b'theirs')", path)
    assert payloads(path)[-1] == b"theirs"


@pytest.mark.parametrize("cut", CUTS)
def test_a_wal_cut_short_leaves_what_is_in_the_file(spool: Spool, path: Path, cut: Callable[[Path], None]) -> None:
    for event in EVENTS:
        spool.append(event)
    settle(spool)
    cut(wal(path))
    wait_until_verification_is_due()
    assert spool.append(b"after")

    assert list(spool.notices()) == []
    assert payloads(path) == [*EVENTS, b"after"]
    assert spool.check() == []


def test_a_wal_emptied_by_a_checkpoint_is_no_loss(spool: Spool, path: Path) -> None:
    for event in EVENTS:
        spool.append(event)
    ask(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert wal(path).stat().st_size == 0
    wait_until_verification_is_due()
    spool.append(b"after")
    spool.maintain()

    assert list(spool.notices()) == []
    assert payloads(path) == [*EVENTS, b"after"]


@pytest.mark.parametrize("cut", CUTS)
def test_every_process_goes_on_after_the_wal_is_cut_short(
    spool: Spool, path: Path, cut: Callable[[Path], None]
) -> None:
    spool.append(b"first")
    settle(spool)
    with process(WORKER, path) as one, process(WORKER, path) as other:
        for worker in (one, other, one, other):
            assert worker.ask("append old") == "done"
        wait_until_verification_is_due()
        for number in range(20):
            assert one.ask(f"append one-{number}") == "done"
            assert other.ask(f"append other-{number}") == "done"
        cut(wal(path))
        for number in range(20, 40):
            assert one.ask(f"append one-{number}") == "done"
            assert other.ask(f"append other-{number}") == "done"
            time.sleep(0.01)
        for worker in (one, other):
            assert worker.ask("maintain") == "done"
        assert spool.append(b"ours")
        run("spool().append(b'newcomer')", path)
        events = {event.decode() for event in payloads(path)}
        assert {f"{name}-{number}" for name in ("one", "other") for number in range(40)} <= events
        assert {"first", "ours", "newcomer"} <= events
        assert spool.check() == []


@pytest.mark.parametrize("cut", [cut_to_nothing, cut_to_header, cut_within_frame])
def test_a_new_worker_starts_beside_one_that_has_not_noticed(
    path: Path, open_spool: Callable[..., Spool], cut: Callable[[Path], None]
) -> None:
    with process(WORKER, path) as other:
        for number in range(50):
            other.ask(f"append other-{number}")
        cut(wal(path))
        spool = open_spool()
        assert spool.append(b"ours")
        assert other.ask("append theirs") == "done"
        assert other.ask("maintain") == "done"
        assert {b"ours", b"theirs"} <= {*payloads(path)}
        assert spool.check() == []


def test_numbers_go_on_after_a_wal_was_emptied(spool: Spool, path: Path) -> None:
    for event in EVENTS:
        spool.append(event)
    settle(spool)
    batch = spool.next_batch(100, 1 << 20)
    assert batch
    spool.mark_sent(batch)
    cut_to_nothing(wal(path))
    wait_until_verification_is_due()
    assert spool.append(b"after") > len(EVENTS)
    sent = []
    while batch := spool.next_batch(100, 1 << 20):
        sent += batch.payloads
        spool.mark_sent(batch)
    assert sent[-1] == b"after"
    assert spool.check() == []


@pytest.mark.parametrize("size", [0, 50, 4096, 3 * 4096 + 100])
@pytest.mark.parametrize("busy", [True, False])
def test_a_truncated_file_is_quarantined_whole(spool: Spool, path: Path, size: int, *, busy: bool) -> None:
    for event in EVENTS:
        spool.append(event)
    settle(spool)
    for event in EVENTS[:20]:
        spool.append(b"again " + event)
    os.truncate(path, size)
    wait_until_verification_is_due()
    if not busy:
        with pytest.raises(SpoolError):
            spool.maintain()
    assert spool.append(b"after")

    (notice,) = spool.notices()
    (kept,) = quarantined(path)
    assert str(kept) in notice
    assert wal(kept).stat().st_size
    assert payloads(path) == [b"after"]
    salvage(kept, path.with_name("saved.db"), "project")
    assert {b"again " + event for event in EVENTS[:20]} <= {*payloads(path.with_name("saved.db"))}


@pytest.mark.parametrize("size", [0, 50, 4096, 3 * 4096 + 100])
def test_a_truncated_file_beside_its_wal_is_quarantined_on_opening(
    path: Path, open_spool: Callable[..., Spool], size: int
) -> None:
    script = "s = spool()\nfor i in range(300): s.append(b'event %d' % i + b'.' * 300)\n"
    with process(script + "checkpoint()\ns.append(b'last')\nsay('open')\nhear()", path) as writer:
        writer.hear()
        writer.kill()
    os.truncate(path, size)
    content = wal(path).read_bytes()
    spool = open_spool()

    (notice,) = spool.notices()
    (kept,) = quarantined(path)
    assert str(kept) in notice
    assert wal(kept).read_bytes() == content
    assert spool.append(b"new") == 1


def test_looking_at_an_empty_file_leaves_its_wal(path: Path) -> None:
    with process("s = spool()\ns.append(b'event')\nsay('open')\nhear()", path) as writer:
        writer.hear()
        writer.kill()
    os.truncate(path, 0)
    content = wal(path).read_bytes()
    assert "the file is empty" in run(LOOKS, path)
    assert wal(path).read_bytes() == content


@pytest.mark.parametrize("size", [0, 100])
def test_a_wal_index_cut_short_does_not_kill_a_worker_that_waits(spool: Spool, path: Path, size: int) -> None:
    for event in EVENTS:
        spool.append(event)
    with process(WORKER, path) as other:
        assert other.ask("append theirs") == "done"
        wait_until_verification_is_due()
        os.truncate(shm(path), size)
        assert other.ask("append more") == "done"
        assert spool.append(b"after")
        assert other.ask("maintain") == "done"
        assert {*payloads(path)} == {*EVENTS, b"theirs", b"more", b"after"}
        assert spool.check() == []


def test_a_lasting_error_leads_to_new_connections_once_a_second(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    spool.append(b"event")
    made = []
    connect = spool._database._connect
    monkeypatch.setattr(spool._database, "_connect", lambda: made.append(1) or connect())
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR, "SQLITE_IOERR"

    class Broken:
        def __init__(self, db: sqlite3.Connection) -> None:
            self.db = db

        def __getattr__(self, name: str) -> object:
            return getattr(self.db, name)

        def execute(self, *_: object) -> None:
            raise error

    spool._database.connections().append = Broken(spool._database.connections().append)  # type: ignore[assignment]
    assert spool.append(b"more") == 2
    assert made == [1]
    spool._database.connections().append = Broken(spool._database.connections().append)  # type: ignore[assignment]
    for _ in range(20):
        with pytest.raises(SpoolError, match="disk"):
            spool.append(b"more")
    assert made == [1]
    spool._database._recovered_at -= 1.1
    assert spool.append(b"more") == 3
    assert made == [1, 1]


def test_a_wal_cut_short_that_has_grown_again_meanwhile_is_noticed(spool: Spool, path: Path) -> None:
    spool.append(b"first")
    settle(spool)
    for event in EVENTS:
        spool.append(event)
    wait_until_verification_is_due()
    spool.append(b"seen")
    size = wal(path).stat().st_size
    cut_within_frame(wal(path))
    os.truncate(wal(path), size + 10 * FRAME)  # as by a connection that goes on behind the gap
    wait_until_verification_is_due()
    assert spool.append(b"after")

    assert len(list(spool.notices())) == 1
    assert payloads(path) == [b"first", *EVENTS, b"seen", b"after"]
    assert spool.check() == []


def test_a_wal_cut_short_twice_doubles_no_event(spool: Spool, path: Path) -> None:
    for number in range(3):
        for event in EVENTS[number * 20 : number * 20 + 20]:
            spool.append(event)
        cut_to_nothing(wal(path))
        wait_until_verification_is_due()
        spool.append(b"cut %d" % number)
    assert sorted(payloads(path)) == sorted([*EVENTS[:60], b"cut 0", b"cut 1", b"cut 2"])
    assert spool.check() == []
