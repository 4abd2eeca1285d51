"""One file for all processes is safe only because of four guards: each is seen to hold."""

from __future__ import annotations

import gc
import sqlite3
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool
from alignai.spool.storage import redo
from alignai.spool.storage.sqlite import has_wal_reset_bug
from alignai.spool.storage.write_lock import WriteLock
from tests.support.processes import process, run
from tests.support.spool_file import ask, checkpoint, payloads, shm, wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MUCH = 1 << 20


def connections(spool: Spool) -> list[sqlite3.Connection]:
    return spool._database.connections()._opened


# -- guard 1: no commit races a checkpoint -----------------------------------------------------------------------------


def test_no_process_can_commit_during_a_checkpoint(spool: Spool, path: Path) -> None:
    spool.append(b"event")
    outcomes: list[str] = []
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:

        def during(statement: str) -> None:
            if "wal_checkpoint" not in statement:
                return
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                outcomes.append(str(error))
            else:
                other.execute("ROLLBACK")
                outcomes.append("could commit")

        for connection in connections(spool):
            connection.set_trace_callback(during)
        spool._maintenance.finish()
        for connection in connections(spool):
            connection.set_trace_callback(None)

    assert outcomes == ["database is locked"]
    assert spool.check() == []


def test_every_checkpoint_is_made_under_the_write_lock(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(max_bytes=MUCH, on_full="drop_oldest", retention=0)
    ledger = spool._database.connections().ledger
    locked: list[bool] = []

    def note(statement: str) -> None:
        if "checkpoint" in statement:
            locked.append(ledger.in_transaction)

    for connection in connections(spool):
        connection.set_trace_callback(note)
    for i in range(1500):
        spool.append(b"." * 1000)
        if not i % 100:
            spool.maintain()
    for connection in connections(spool):
        connection.set_trace_callback(None)

    assert len(locked) > 5
    assert all(locked)
    assert spool.check() == []


def test_no_connection_checkpoints_by_itself_or_maps_the_file(spool: Spool) -> None:
    for connection in connections(spool):
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
        assert connection.execute("PRAGMA mmap_size").fetchone() == (0,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(("synchronous", "level"), [("normal", 1), ("full", 2)])
def test_every_connection_syncs_as_asked(open_spool: Callable[..., Spool], synchronous: str, level: int) -> None:
    spool = open_spool(synchronous=synchronous)

    assert {each.execute("PRAGMA synchronous").fetchone() for each in connections(spool)} == {(level,)}


@pytest.mark.parametrize(
    ("version", "bug"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((3, 53, 1), False),
        ((4, 0, 0), False),
    ],
)
def test_which_versions_of_sqlite_lose_commits_that_race_a_checkpoint(version: tuple[int, int, int], bug: bool) -> None:
    assert has_wal_reset_bug(version) is bug


# -- guard 2: a WAL that is deleted under the spool is noticed ---------------------------------------------------------

FOREIGN = """
import sqlite3
db = sqlite3.connect(PATH)
say(db.execute('SELECT count(*) FROM events').fetchone()[0])
db.close()
"""
"""Any program that reads the file. It takes itself for the last to close, and SQLite deletes the WAL."""

THEIRS = "s = spool(); s.append(b'theirs'); s.close()"


LOCK = """
import sqlite3
db = sqlite3.connect(PATH, isolation_level=None)
db.execute('BEGIN IMMEDIATE')
say('locked')
hear()
db.execute('ROLLBACK')
db.close()
"""


def lose_locks(path: Path) -> None:
    """
    Do what any code of the process may do: POSIX drops every lock that the process has on the two files.

    From 3.51 on, SQLite asks for the locks on the wal-index before it takes itself for the last to close.
    """
    for each in (path, shm(path)):
        each.open("rb").close()


def lose_wal(path: Path) -> None:
    before = wal(path).stat().st_ino
    lose_locks(path)
    run(FOREIGN, path)
    assert not wal(path).exists() or wal(path).stat().st_ino != before


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only the number of events or maintenance make the spool look for its WAL, not the time."""
    monkeypatch.setattr(redo, "VERIFY_SECONDS", 1e9)


def test_a_lost_wal_is_noticed_before_the_next_event_is_acknowledged(spool: Spool, path: Path) -> None:
    spool.append(b"before")
    lose_wal(path)
    spool.append(b"after")

    assert run(FOREIGN, path) == "2"
    assert payloads(path) == [b"before", b"after"]
    (notice,) = spool.notices()
    assert "write-ahead log" in notice
    assert str(path) in notice
    assert spool.check() == []


@pytest.mark.parametrize("synchronous", ["normal", "full"])
@pytest.mark.usefixtures("unwatched")
def test_rows_of_a_lost_wal_are_appended_again_in_order_and_once(
    open_spool: Callable[..., Spool], path: Path, synchronous: str
) -> None:
    spool = open_spool(synchronous=synchronous)
    events = [b"%d" % i for i in range(200)]
    for event in events[:50]:
        spool.append(event)
    lose_wal(path)
    for event in events[50:]:
        spool.append(event)

    assert run(FOREIGN, path) == "200"
    assert payloads(path) == events
    assert len(list(spool.notices())) == 1
    assert spool.check() == []


@pytest.mark.usefixtures("unwatched")
def test_upkeep_notices_the_loss_where_nothing_more_is_appended(spool: Spool, path: Path) -> None:
    spool.append(b"before")
    lose_wal(path)
    spool.append(b"into the void")
    assert run(FOREIGN, path) == "1"
    spool.maintain()

    assert run(FOREIGN, path) == "2"
    assert len(list(spool.notices())) == 1
    assert spool.check() == []


@pytest.mark.usefixtures("unwatched")
def test_rows_appended_again_are_not_doubled_beside_other_processes(spool: Spool, path: Path) -> None:
    for i in range(10):
        spool.append(b"%d" % i)  # in the file, and not yet seen to be
    lose_wal(path)
    spool.append(b"into the void")
    run("s = spool()\nfor i in range(300): s.append(b'theirs')\ns.close()", path)
    spool.maintain()

    assert sorted(payloads(path)) == sorted([b"%d" % i for i in range(10)] + [b"into the void"] + [b"theirs"] * 300)
    assert spool.check() == []


@pytest.mark.usefixtures("unwatched")
def test_a_batch_is_not_made_of_rows_read_from_a_lost_wal(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The WAL is lost between the look at it and the reading."""
    recover = spool._database._recover_if_wal_lost

    def recover_then_lose() -> None:
        recover()
        monkeypatch.setattr(spool._database, "_recover_if_wal_lost", recover)
        lose_wal(path)
        spool.append(b"into the void")
        run(THEIRS, path)

    spool.append(b"before")
    monkeypatch.setattr(spool._database, "_recover_if_wal_lost", recover_then_lose)
    sent: list[bytes] = []
    while batch := spool.next_batch(10, MUCH):
        sent += batch.payloads
        spool.mark_sent(batch)

    assert sent == [b"before", b"theirs", b"into the void"]
    assert payloads(path) == sent
    assert spool.check() == []


@pytest.mark.usefixtures("unwatched")
def test_recovery_of_a_lost_wal_is_tried_again_if_it_fails(
    spool: Spool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alignai.spool import SpoolBusyError
    from alignai.spool.storage import sqlite

    spool.append(b"before")
    lose_wal(path)
    for i in range(5):
        spool.append(b"void %d" % i)
    with process(LOCK, path) as other, monkeypatch.context() as patch:
        assert other.hear() == "locked"
        patch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.05)
        with pytest.raises(SpoolBusyError):
            spool.maintain()
        other.say()
        other.end()
    spool.append(b"after")

    assert sorted(payloads(path)) == sorted([b"before", *[b"void %d" % i for i in range(5)], b"after"])
    assert spool.check() == []


@pytest.mark.usefixtures("unwatched")
def test_rows_appended_while_the_wal_is_moved_and_deleted_are_not_lost(spool: Spool, path: Path) -> None:
    spool.append(b"before")
    checkpoint(path)  # the last operation of SQLite before it deletes a WAL
    spool.append(b"in between")
    spool.maintain()  # sees the WAL in its place
    for each in (wal(path), shm(path)):
        each.unlink()
    spool.append(b"after")
    spool.maintain()

    assert sorted(payloads(path)) == [b"after", b"before", b"in between"]
    assert len(list(spool.notices())) == 1
    assert spool.check() == []


def test_a_deleted_wal_is_checkpointed_by_a_process_that_has_it_open(spool: Spool, path: Path) -> None:
    for _ in range(500):
        spool.append(b"." * 500)
    batch = spool.next_batch(10, MUCH)
    assert batch
    wal(path).unlink()
    spool.mark_sent(batch)

    assert (spool.stats().sent, spool.stats().pending) == (10, 490)
    assert run(FOREIGN, path) == "500"
    assert len(list(spool.notices())) == 1
    assert spool.check() == []


def test_marking_notices_the_loss(spool: Spool, path: Path) -> None:
    spool.append(b"event")
    batch = spool.next_batch(10, MUCH)
    assert batch
    lose_wal(path)
    spool.mark_sent(batch)

    assert ask(path, "SELECT sent FROM spool") == [(1,)]
    assert len(list(spool.notices())) == 1
    assert spool.check() == []


def test_a_deleted_wal_does_not_stop_the_spool(spool: Spool, path: Path) -> None:
    spool.append(b"before")
    checkpoint(path)
    wal(path).unlink()
    for _ in range(200):
        spool.append(b"after")

    assert run(FOREIGN, path) == "201"
    assert len(list(spool.notices())) == 1
    assert spool.check() == []


READS = """
import sqlite3
db = sqlite3.connect(PATH)
db.execute('BEGIN')
db.execute('SELECT count(*) FROM events').fetchone()
say('reading')
hear()
"""


def test_a_deleted_wal_is_rescued_although_another_process_is_reading(spool: Spool, path: Path) -> None:
    """A checkpoint would leave out what is newer than that."""
    for _ in range(100):
        spool.append(b"before")
    with process(READS, path) as reader:
        assert reader.hear() == "reading"
        for _ in range(100):
            spool.append(b"after")
        spool._database.redo.forget()
        wal(path).unlink()
        spool.maintain()

        assert payloads(path) == [b"before"] * 100 + [b"after"] * 100
    assert spool.check() == []


def test_a_deleted_wal_is_rescued_although_another_process_is_writing(spool: Spool, path: Path) -> None:
    """Only who has it open can see it, and only the last events are remembered otherwise."""
    for _ in range(100):
        spool.append(b"before")
    spool._database.redo.forget()
    lock = WriteLock(path)
    with closing(lock), ExitStack() as stack:
        stack.enter_context(lock.held())
        wal(path).unlink()
        recovering = threading.Thread(target=spool.maintain)
        recovering.start()
        recovering.join(0.3)  # it must not go on without the lock
        assert not wal(path).exists()
        stack.close()
        recovering.join(30)

    assert payloads(path) == [b"before"] * 100
    assert spool.check() == []


@pytest.mark.parametrize("with_wal", [True, False])
def test_a_deleted_file_is_created_again(spool: Spool, path: Path, with_wal: bool) -> None:
    spool.append(b"deleted by someone")
    spool.maintain()
    path.unlink()
    if with_wal:
        wal(path).unlink()
    spool.append(b"after")
    spool.maintain()

    # The rows acknowledged shortly before the loss are in the redo buffer, and are appended again.
    assert payloads(path) in ([b"after"], [b"deleted by someone", b"after"])
    lost, *further = spool.notices()
    assert "write-ahead log" in lost
    assert len(further) == (0 if with_wal else 1)  # SQLite would have deleted the remaining WAL
    assert len(list(path.parent.glob("*.corrupt-*-wal"))) == len(further)
    assert spool.check() == []


def test_a_file_that_is_replaced_by_another_spool_is_gone_on_with(spool: Spool, path: Path, tmp_path: Path) -> None:
    other = Spool(tmp_path / "other.db", project_id="project")
    other.append(b"restored")
    other.close()
    spool.append(b"before")
    spool.maintain()
    wal(path).unlink()
    other.path.replace(path)
    for _ in range(100):
        spool.append(b"after")

    assert [each for each in payloads(path) if each != b"before"] == [b"restored", *[b"after"] * 100]
    assert len(list(spool.notices())) == 1
    assert spool.check() == []


def test_two_spools_on_one_file_in_one_process_work_and_close_apart(
    open_spool: Callable[..., Spool], path: Path
) -> None:
    one, two = open_spool(), open_spool()
    numbers = [each.append(b"event") for each in (one, two, one, two)]
    one.close()
    numbers += [two.append(b"event") for _ in range(100)]

    assert numbers == list(range(1, 105))
    assert run(FOREIGN, path) == "104"
    assert list(two.notices()) == []
    assert two.check() == []


@pytest.mark.usefixtures("unwatched")
def test_two_spools_on_one_file_in_a_process_recover_a_lost_wal_together(
    open_spool: Callable[..., Spool], path: Path
) -> None:
    one, two = open_spool(), open_spool()
    one.append(b"one")
    two.append(b"two")
    lose_wal(path)
    one.append(b"one in the void")
    two.append(b"two in the void")
    one.maintain()
    two.maintain()

    assert sorted(payloads(path)) == [b"one", b"one in the void", b"two", b"two in the void"]
    assert run(FOREIGN, path) == "4"
    assert one.check() == two.check() == []


UNAWARE = """
from alignai.spool.storage import redo
redo.VERIFY_SECONDS = 1e9
s = spool()
for i in range(20):
    s.append(b'theirs %d' % i)
    say('appended')
    if hear() == 'notice': s.maintain()
s.close()
"""


@pytest.mark.usefixtures("unwatched")
def test_processes_before_and_after_noticing_a_lost_wal_do_not_meet(spool: Spool, path: Path) -> None:
    """They write to two WALs. With one wal-index for both, each would look in its own WAL for frames of the other."""
    with process(UNAWARE, path) as other:
        assert other.hear() == "appended"
        spool.append(b"before")
        wal(path).unlink()
        spool.maintain()
        for number in range(15):
            assert other.ask() == "appended"
            spool.append(b"after %d" % number)
        assert spool.check() == []
        other.say("notice")
        for _ in range(4):
            assert other.hear() == "appended"
            other.say()
        other.end()

    assert sorted(payloads(path)) == sorted(
        [b"before", *[b"after %d" % number for number in range(15)], *[b"theirs %d" % number for number in range(20)]]
    )
    assert spool.check() == []


ENDS = {
    "close": "s.close()",
    "exit": "",
    "collected": "import gc; del s; gc.collect(); hear()",
    "suspended": "os.fork() or os._exit(0); os.wait()",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_process_that_ends_never_deletes_the_wal_of_another(spool: Spool, path: Path, end: str) -> None:
    spool.append(b"before")
    before = wal(path).stat().st_ino
    with process("s = spool()\ns.append(b'theirs')\nsay('open')\nhear()\n" + end, path) as other:
        assert other.hear() == "open"
        lose_locks(path)
        other.say()
        other.end()

    assert wal(path).stat().st_ino == before
    spool.append(b"after")
    assert run(FOREIGN, path) == "3"
    assert spool.check() == []


def test_a_spool_that_is_dropped_without_close_leaves_the_wal(spool: Spool, path: Path) -> None:
    spool.append(b"before")
    before = wal(path).stat().st_ino
    other = Spool(path, project_id="project")
    other.append(b"other")
    other.close()
    del other
    gc.collect()

    assert wal(path).stat().st_ino == before
    assert spool.check() == []


# -- guard 3: reads end before the network begins ----------------------------------------------------------------------


def test_no_transaction_is_open_after_any_call(spool: Spool, path: Path) -> None:
    def nothing_is_open() -> None:
        assert [each.in_transaction for each in connections(spool)] == [False] * 3
        assert ask(path, "PRAGMA wal_checkpoint(TRUNCATE)") == [(0, 0, 0)]  # it would be busy under any reader

    for i in range(20):
        spool.append(b"%d" % i)
        nothing_is_open()
    batch = spool.next_batch(10, MUCH)
    assert batch
    nothing_is_open()
    calls: list[Callable[[], object]] = [
        lambda: spool.mark_failed(batch, "error"),
        spool.last_seq,
        lambda: spool.unsettled(20),
        spool.backlog,
        spool.stats,
        spool.check,
        spool.totals,
        lambda: spool.split(batch),
        spool.maintain,
    ]
    for call in calls:
        call()
        nothing_is_open()


def test_events_appended_during_an_upload_do_not_make_the_wal_grow(
    open_spool: Callable[..., Spool], path: Path
) -> None:
    spool = open_spool()
    spool.append(b"event")
    batch = spool.next_batch(10, MUCH)
    for i in range(10_000):
        spool.append(b"." * 1000)
        if not i % 200:
            spool.maintain()

    assert batch
    assert wal(path).stat().st_size < 8 * MUCH
    assert spool.check() == []


# -- guard 4: processes that write at once -----------------------------------------------------------------------------

MANY = """
s = spool()
say('open')
hear()
for i in range(150):
    s.append(b'%s %d' % (sys.argv[2].encode(), i))
    if not i % 30: s.maintain()
s.close()
"""


def test_eight_processes_append_at_once_and_lose_nothing(spool: Spool, path: Path) -> None:
    with ExitStack() as stack:
        writers = [stack.enter_context(process(MANY, path, name)) for name in range(8)]
        for each in writers:
            assert each.hear() == "open"
        for each in writers:
            each.say()
        for each in writers:
            each.end()
    events = [tuple(map(int, each.split())) for each in payloads(path)]

    assert sorted(events) == [(name, i) for name in range(8) for i in range(150)]
    assert [i for name, i in events if name == 5] == list(range(150))
    assert spool.last_seq() == 8 * 150
    assert list(spool.notices()) == []
    assert spool.check() == []


def test_a_write_takes_the_write_lock_before_it_reads(spool: Spool, path: Path) -> None:
    """SQLite refuses a write after a read if another process has written since. Waiting does not help."""
    with spool._database.transaction() as db, closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        db.execute("SELECT * FROM spool").fetchall()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("UPDATE spool SET sent = 7")
    assert spool.stats().sent == 0
    assert spool.check() == []


def test_a_writer_waits_for_another_process_that_holds_the_write_lock(spool: Spool, path: Path) -> None:
    with process(LOCK, path) as holder:
        assert holder.hear() == "locked"
        release = threading.Timer(0.2, holder.say)
        release.start()
        assert spool.append(b"event") == 1
        release.join()
        holder.end()
    assert spool.check() == []
