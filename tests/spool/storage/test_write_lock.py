"""The lock that every write holds: no close can drop it, no wait for it is without a bound, no interrupt leaves it."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import re
import signal
import sqlite3
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolBusyError, SpoolError
from alignai.spool.storage import sqlite, write_lock
from alignai.spool.storage.paths import lock_of
from alignai.spool.storage.write_lock import WriteLock
from tests.support import old_spools as kept
from tests.support.interrupts import TimeLimitError, interrupt
from tests.support.processes import fork, process
from tests.support.spool_file import ask, payloads, wal
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MUCH = 1 << 20
WRITES = re.compile(
    "INSERT|UPDATE|DELETE|CREATE|COMMIT|BEGIN IMMEDIATE|PRAGMA (wal_checkpoint|incremental_vacuum|auto_vacuum =|"
    "journal_mode =|application_id =|user_version =)"
)


def is_free(path: Path) -> bool:
    """Whether another process could write."""
    descriptor = os.open(lock_of(path), os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock as another process does."""
    lock = WriteLock(path)
    with closing(lock), lock.held():
        yield


# -- the holders -------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[bool]]:
    """Yield the statements that write to the spool, each with True if the lock was free during it."""
    found: dict[str, set[bool]] = {}
    connect = sqlite3.connect

    def note(statement: str) -> None:
        if write := WRITES.match(statement):
            found.setdefault(write[0], set()).add(is_free(path))

    def connect_and_note(database: object, **options: object) -> sqlite3.Connection:
        opened: sqlite3.Connection = connect(database, **options)  # type: ignore[call-overload]
        if str(database).startswith(f"file:{path}?"):
            opened.set_trace_callback(note)
        return opened

    monkeypatch.setattr(sqlite3, "connect", connect_and_note)
    return found


def test_every_write_holds_the_lock(
    path: Path, open_spool: Callable[..., Spool], written: dict[str, set[bool]]
) -> None:
    kept.make(path)
    spool = open_spool(project_id=kept.PROJECT, retention=0)
    spool.requeue()
    spool.purge(spool.select("pending"))
    for _ in range(300):
        spool.append(b"." * 20_000)
    while batch := spool.next_batch(100, MUCH * 100, after=spool.totals().sent):
        spool.mark_sent(batch)
        spool.maintain()
    while spool.maintenance_due:
        spool.maintain()
    spool.maintain()
    spool.append(b"event")
    wal(path).unlink()
    wait_until(lambda: spool.append(b"event") and list(spool.notices()))
    spool.close()
    full = open_spool(project_id=kept.PROJECT, synchronous="full")
    full.append(b"event")
    full.append(b"event")
    full.close()

    assert set(written) >= {
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "COMMIT",
        "BEGIN IMMEDIATE",
        "PRAGMA wal_checkpoint",
        "PRAGMA incremental_vacuum",
        "PRAGMA journal_mode =",
        "PRAGMA application_id =",
    }
    assert set.union(*written.values()) == {False}, written
    assert is_free(path)


# -- stray closes ------------------------------------------------------------------------------------------------------

RECORDS = """
import threading
s = spool()
stop = threading.Event()
def copy():  # as `shutil.copytree` does
    while not stop.wait(2e-4):
        for suffix in ['', '-wal', '-shm', '.lock']:
            try: os.close(os.open(f'{PATH}{suffix}', os.O_RDONLY))
            except FileNotFoundError: pass
thread = threading.Thread(target=copy)
thread.start()
say('ready')
hear()
for number in range(8000): s.append(b'%s %d' % (sys.argv[2].encode(), number))
stop.set()
thread.join()
say('done')
hear()
s.close()
"""


def test_no_event_is_lost_while_other_code_closes_the_files(path: Path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(process(RECORDS, path, name)) for name in "ab"]
        assert [worker.hear() for worker in workers] == ["ready", "ready"]
        for worker in workers:
            worker.say()
        assert [worker.hear() for worker in workers] == ["done", "done"]
        for worker in workers:
            worker.say()
            worker.end()
    assert sorted(payloads(path)) == sorted(
        b"%s %d" % (name, number) for name in (b"a", b"b") for number in range(8000)
    )
    assert ask(path, "PRAGMA quick_check") == [("ok",)]


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replaced", [False, True])
def test_a_deleted_or_replaced_lock_file_is_noticed_by_all_writers(
    path: Path, open_spool: Callable[..., Spool], replaced: bool
) -> None:
    spools = [open_spool(), open_spool()]
    for spool in spools:
        spool.append(b"event")
    lock_of(path).unlink()
    if replaced:
        lock_of(path).write_bytes(b"")
    for spool in spools:
        wait_until(
            lambda spool=spool: spool.append(b"event") and spool._database.connections().lock._file == _identity(path)
        )  # type: ignore[misc]
    with held(path):
        for spool in spools:
            with pytest.raises(SpoolBusyError):
                spool.request_flush(1, until=0)


def test_a_process_that_holds_a_deleted_lock_file_keeps_the_others_out(path: Path) -> None:
    """It may be in the middle of a commit."""
    with closing(WriteLock(path)) as other:
        with held(path):
            assert _is_refused(other)
            lock_of(path).unlink()
            assert _is_refused(other)
            assert not lock_of(path).exists()
        assert not _is_refused(other)
        with other.held():
            assert not is_free(path)
    assert is_free(path)


def test_an_append_does_not_rely_on_a_lock_file_that_was_deleted(
    path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.1)
    spool.append(b"event")
    spool._database.redo.verified_at = math.inf  # no look at the files is due
    lock_of(path).unlink()
    with held(path), pytest.raises(SpoolBusyError):
        spool.append(b"event")
    spool.append(b"event")
    assert spool.last_seq() == 2


def _identity(path: Path) -> tuple[int, int] | None:
    if not lock_of(path).exists():
        return None
    found = lock_of(path).stat()
    return found.st_dev, found.st_ino


def test_a_descriptor_closed_by_other_code_is_replaced(spool: Spool, path: Path) -> None:
    lock = spool._database.connections().lock
    spool.append(b"event")
    assert lock._descriptor is not None
    os.close(lock._descriptor)
    other = os.open("/", os.O_RDONLY)  # gets the same number
    spool.request_flush(1)
    assert os.fstat(other)
    with held(path), pytest.raises(SpoolBusyError):
        spool.request_flush(1, until=0)
    os.close(other)


@pytest.mark.parametrize("refusal", ["open", "lock"])
def test_a_spool_works_where_there_is_no_such_lock(
    path: Path, open_spool: Callable[..., Spool], refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if refusal == "open":
        lock_of(path).mkdir()
    else:
        monkeypatch.setattr(write_lock, "flock", refuse)
    spool = open_spool()
    for _ in range(200):
        spool.append(b"event")
    spool.request_flush(spool.last_seq())
    spool.maintain()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpoolBusyError):
            spool.request_flush(1, until=0)
    assert spool.check() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_lock_file_that_root_makes_belongs_to_the_owner_of_the_spool(
    open_spool: Callable[..., Spool], path: Path
) -> None:
    open_spool().close()
    lock_of(path).unlink()
    os.chown(path, 12345, 12345)
    open_spool().append(b"event")
    assert (lock_of(path).stat().st_uid, lock_of(path).stat().st_gid) == (12345, 12345)


# -- waiting -----------------------------------------------------------------------------------------------------------

HOLDS = """
from alignai.spool.storage.write_lock import WriteLock
s = spool()
lock = WriteLock(PATH)
held = lock.held()
held.__enter__()
say('held')
hear()
held.__exit__()
s.close()
"""

FOREIGN = """
import sqlite3
db = sqlite3.connect(PATH, isolation_level=None)
db.execute('BEGIN IMMEDIATE')
say('held')
hear()
db.execute('ROLLBACK')
db.close()
"""


@pytest.fixture(params=[HOLDS, FOREIGN], ids=["ours", "foreign"])
def frozen(request: pytest.FixtureRequest, spool: Spool, path: Path) -> Iterator[Spool]:
    """Yield a spool whose write lock is held by a stopped process."""
    spool.append(b"event")
    with process(request.param, path) as holder:
        assert holder.hear() == "held"
        os.kill(holder.popen.pid, signal.SIGSTOP)
        yield spool
        os.kill(holder.popen.pid, signal.SIGCONT)
        holder.say()
        holder.end()


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_each_of_several_threads_waits_no_longer_than_its_own_patience(
    frozen: Spool, open_spool: Callable[..., Spool], synchronous: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(synchronous=synchronous)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 1.0)
    waited: list[float] = []

    def append(delay: float) -> None:
        time.sleep(delay)
        began = time.monotonic()
        with pytest.raises(SpoolBusyError, match="another process holds its write lock"):
            spool.append(b"event")
        waited.append(time.monotonic() - began)

    threads = [threading.Thread(target=append, args=[number / 5]) for number in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)

    assert len(waited) == 5
    assert min(waited) >= 0.9
    assert max(waited) < 1.7  # one after the other, the second would have waited for 1.8 s
    assert frozen.last_seq() == 1


def test_calls_keep_their_deadlines_and_a_spool_closes_in_time(frozen: Spool) -> None:
    began = time.monotonic()
    with pytest.raises(SpoolBusyError):
        frozen.request_flush(1, until=began + 0.2)
    frozen.close(until=time.monotonic() + 0.2)
    assert 0.4 <= time.monotonic() - began < 3
    assert frozen._database.closed


def test_a_waiting_call_does_not_block_reading_closing_or_forking(
    frozen: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 3.0)
    thread = threading.Thread(target=_append_in_vain, args=[frozen])
    thread.start()
    began = time.monotonic()
    assert frozen.last_seq() == 1
    fork()
    frozen.close(until=time.monotonic())
    assert time.monotonic() - began < 2  # and not as long as the thread
    thread.join(30)


def _append_in_vain(spool: Spool) -> None:
    with pytest.raises(SpoolError):
        spool.append(b"event")


GREENLETS = """
from gevent import monkey, spawn, joinall
s = spool()
s.append(b'first')
monkey.patch_all()  # after the mutexes were made, as in a worker of gunicorn that was preloaded
say('ready')
hear()
greenlets = [spawn(s.append, b'event %d' % number) for number in range(5)]
joinall(greenlets)
say([greenlet.exception for greenlet in greenlets if greenlet.exception])
"""


def test_greenlets_that_wait_for_the_lock_do_not_share_it(path: Path) -> None:
    pytest.importorskip("gevent")
    with process(GREENLETS, path) as worker:
        assert worker.hear() == "ready"
        with held(path):
            worker.say()
            wait_until(lambda: lock_of(path).read_bytes() == b"!")
        assert worker.hear() == "[]"
    assert len(payloads(path)) == 6


def test_a_process_that_waits_for_long_has_the_others_give_way(
    path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, waiting = spool._database.connections().lock, WriteLock(path)
    with closing(waiting):
        with lock.held():
            wait_until(lambda: _is_refused(waiting) and lock_of(path).read_bytes() == b"!")
        pauses: list[float] = []
        monkeypatch.setattr(write_lock.time, "sleep", pauses.append)
        lock.give_way()
        lock.give_way()
    assert len(pauses) == 1


def _is_refused(lock: WriteLock) -> bool:
    try:
        with lock.held():
            return False
    except sqlite3.OperationalError:
        return True


# -- interrupts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda spool: spool.append(b"event"),
        lambda spool: spool.request_flush(spool.last_seq()),
        lambda spool: spool.maintain(),
    ],
    ids=["append", "transaction", "maintain"],
)
def test_a_call_that_is_interrupted_at_any_line_leaves_the_lock_free(
    spool: Spool, path: Path, call: Callable[[Spool], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignai.spool.storage.redo.VERIFY_SECONDS", -1.0)  # so that each append looks for the files
    spool.append(b"event")
    for at in count(1):
        if not interrupt(lambda: call(spool), at, TimeLimitError):
            break
        assert is_free(path), at
    assert at > 10


def test_a_reentrant_call_does_not_release_the_outer_calls_lock(spool: Spool, path: Path) -> None:
    lock = spool._database.connections().lock
    with spool._database.exclusive(), lock.held():
        spool.append(b"on top")
        assert not is_free(path)
    assert is_free(path)
