"""Settled events are deleted in small steps. The cost of that and of reading does not depend on the ledger's size."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool
from alignai.spool.ledger import queries, transitions
from alignai.spool.salvage.rebuild import salvage
from tests.support.spool_file import ask, checkpoint, on_disk, payloads, transaction, wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
LONG = 20_000


def add_sent(spool: Spool, batches: int, settled_at: float) -> None:
    """Add the rows that *batches* uploads of one event each leave."""
    with transaction(spool.path) as db:
        start = queries.last_seq(db) + 1
        numbers = range(start, start + batches)
        db.executemany("INSERT INTO events (seq, at, crc, payload) VALUES (?, ?, 0, x'')", ((i, 0.0) for i in numbers))
        db.executemany(
            "INSERT INTO batches (first, last, events, request_id, state, settled_at) VALUES (?, ?, 1, ?, 'sent', ?)",
            ((i, i, f"{i:032x}", settled_at) for i in numbers),
        )


def ledger_rows(path: Path) -> list[tuple[int, int, int, str]]:
    return ask(path, "SELECT first, last, events, state FROM batches ORDER BY first")  # type: ignore[return-value]


def prune_in_use(spool: Spool) -> None:
    with transaction(spool.path) as db:
        assert transitions.prune(db, 0) is not None


def upload_one(spool: Spool) -> None:
    batch = spool.next_batch(1, MIB)
    assert batch
    spool.mark_failed(batch, "no answer")
    batch = spool.next_batch(1, MIB)
    assert batch
    spool.mark_sent(batch)


def drop_one(spool: Spool) -> None:
    with transaction(spool.path) as db:
        assert transitions.drop(db, 1)


ACTS: dict[str, Callable[[Spool], object]] = {
    "prune": prune_in_use,
    "upload": upload_one,
    "drop": drop_one,
    "stats": Spool.stats,
    "backlog": Spool.backlog,
    "unsettled": lambda spool: spool.unsettled(spool.last_seq()),
    "purge rejected": lambda spool: spool.purge(spool.select("rejected")),
    "purge pending": lambda spool: spool.purge(spool.select("pending")),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_the_work_of_a_prune_does_not_grow_with_the_ledger(
    open_spool: Callable[..., Spool], act: Callable[[Spool], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    spool = open_spool(retention=3600)
    work = []
    for batches in (1000, LONG):
        add_sent(spool, batches, time.time())
        for _ in range(3):
            spool.append(b"event")
        work.append(steps.of(lambda: act(spool)))

    assert work[1] < 1.5 * work[0]


class Steps:
    """Counts the instructions that SQLite executes on any connection opened since it was made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connections: list[sqlite3.Connection] = []
        self.count: int | None = None
        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: self._watch(connect(*args, **options)))

    def _watch(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        self.connections.append(connection)
        if self.count is not None:
            connection.set_progress_handler(self._step, 1)
        return connection

    def _step(self) -> None:
        self.count = (self.count or 0) + 1

    def of(self, act: Callable[[], object]) -> int:
        self.count = 0
        self._watch_all(self._step)
        act()
        self._watch_all(None)
        counted, self.count = self.count, None
        return counted

    def _watch_all(self, step: Callable[[], None] | None) -> None:
        for each in self.connections:
            with suppress(sqlite3.ProgrammingError):  # it is closed
                each.set_progress_handler(step, 1)


def test_a_transaction_deletes_a_bounded_number_of_batches_and_events(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(retention=3600)
    add_sent(spool, 3 * transitions.MAX_PRUNED, time.time())
    spool.append(b"newest")
    for left in (2, 1, 0):
        prune_in_use(spool)
        assert len(ledger_rows(spool.path)) == left * transitions.MAX_PRUNED + 1
        assert len(payloads(spool.path)) == left * transitions.MAX_PRUNED + 1
    assert spool.check() == []


def test_a_batch_too_large_for_one_transaction_is_deleted_piece_by_piece(
    open_spool: Callable[..., Spool], path: Path
) -> None:
    spool = open_spool(retention=3600)
    for _ in range(10):
        spool.append(b"." * (transitions.MAX_PRUNED_BYTES // 3))
    spool.append(b"newest")
    upload = spool.next_batch(10, 10 * MIB)
    assert upload
    spool.mark_sent(upload)
    stored = []
    while is_prunable(spool):
        prune_in_use(spool)
        stored.append(len(payloads(path)))
        assert spool.check() == []

    assert stored == [8, 5, 2, 1]


def is_prunable(spool: Spool) -> bool:
    with transaction(spool.path) as db:
        return bool(queries.prunable(db, 0))


def test_purging_large_sent_batches_counts_each_event_once(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool(retention=3600)
    for _ in range(10):
        spool.append(b"." * (transitions.MAX_PRUNED_BYTES // 3))
    batch = spool.next_batch(10, 10 * MIB)
    assert batch
    spool.mark_sent(batch)

    assert spool.purge(spool.select("sent")) == 10
    assert spool.check() == []


def test_a_run_of_maintenance_is_bounded_and_says_that_more_is_left(
    open_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignai.spool.maintenance._PRUNE_SECONDS", 0.0)
    spool = open_spool(retention=3600)
    add_sent(spool, 3 * transitions.MAX_PRUNED, time.time() - 7200)
    synced = []
    monkeypatch.setattr(spool._database.connections(), "sync_wal", lambda: synced.append(len(ledger_rows(spool.path))))
    runs = []
    for _ in range(3):
        spool.maintain()
        runs.append((len(ledger_rows(spool.path)), spool.maintenance_due))

    assert runs == [(2 * transitions.MAX_PRUNED + 1, True), (transitions.MAX_PRUNED + 1, True), (1, False)]
    assert synced == [rows for rows, _ in runs]
    assert spool.check() == []


def test_a_long_prune_keeps_the_wal_short_without_a_sync_per_step(
    open_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restarted WAL keeps its length on disk, but does not count as long for that."""
    spool = open_spool(retention=3600)
    syncs = []
    links = spool._database.connections()
    sync = links.sync_wal
    monkeypatch.setattr(links, "sync_wal", lambda: (syncs.append(links.wal_bytes), sync()))
    add_sent(spool, LONG, time.time())
    purged = spool.purge(spool.select("sent"))

    assert purged == LONG
    assert len(syncs) < LONG / transitions.MAX_PRUNED / 5
    assert wal(spool.path).stat().st_size < 8 * MIB
    assert spool.check() == []


# -- events that were never uploaded end as one ledger row -------------------------------------------------------------


def test_dropping_in_an_outage_leaves_one_row_and_stays_within_max_bytes(path_in_memory: Path) -> None:
    path = path_in_memory
    spool = Spool(path, project_id="project", max_bytes=MIB, on_full="drop_oldest")
    spool.append(b"." * 300)
    batch = spool.next_batch(50, MIB)
    assert batch
    spool.mark_failed(batch, "the server is down")
    for number in range(12_000):
        spool.append(b"." * 300)
        if not number % 1000:
            spool.maintain()
    stats = spool.stats()

    assert stats.dropped > 8000
    assert ledger_rows(path) == [(1, 1, 1, "open"), (2, stats.dropped + 1, stats.dropped, "dropped")]
    assert on_disk(path) <= MIB
    assert stats.pending + stats.dropped == 12_000
    assert spool.check() == []
    spool.close()


def leave_open(spool: Spool) -> None:
    spool.append(b"open")
    batch = spool.next_batch(1, MIB)
    assert batch
    spool.mark_failed(batch, "no answer")


def test_purging_what_is_pending_extends_the_row_of_what_was_dropped(spool: Spool, path: Path) -> None:
    leave_open(spool)
    for _ in range(600):
        spool.append(b"event")
    drop_one(spool)
    assert spool.purge(spool.select("pending")) == 599

    assert ledger_rows(path) == [(1, 1, 1, "open"), (2, 601, 600, "dropped")]
    assert spool.stats().dropped == 600
    assert spool.check() == []


def test_adjacent_damaged_events_become_one_row_and_each_is_kept(spool: Spool, path: Path) -> None:
    for _ in range(6):
        spool.append(b"event")
    ask(path, "UPDATE events SET payload = 'damaged' WHERE seq IN (1, 2, 3, 5, 6)")
    batch = spool.next_batch(10, MIB)
    assert batch
    assert batch.first == 4
    assert spool.next_batch(10, MIB, after=4) is None

    assert ledger_rows(path) == [(1, 3, 3, "rejected"), (4, 4, 1, "open"), (5, 6, 2, "rejected")]
    assert ask(path, "SELECT count(*) FROM rejected") == [(5,)]
    assert spool.check() == []


def test_adjacent_damaged_events_of_an_open_batch_become_one_row(spool: Spool, path: Path) -> None:
    for _ in range(6):
        spool.append(b"event")
    batch = spool.next_batch(10, MIB)
    assert batch
    ask(path, "UPDATE events SET payload = 'damaged' WHERE seq IN (2, 3, 6)")
    assert spool.next_batch(10, MIB)

    assert ledger_rows(path) == [
        (1, 1, 1, "open"),
        (2, 3, 2, "rejected"),
        (4, 5, 2, "open"),
        (6, 6, 1, "rejected"),
    ]
    assert spool.check() == []


def test_an_event_that_a_server_refused_keeps_a_row_of_its_own(spool: Spool, path: Path) -> None:
    """Its row names the request, so that a late answer to it finds that it has an outcome."""
    leave_open(spool)
    for _ in range(2):
        spool.append(b"event")
        batch = spool.next_batch(1, MIB, after=1)
        assert batch
        spool.mark_rejected(batch, "reason", "summary")
    spool.append(b"event")
    drop_one(spool)

    assert [state for *_, state in ledger_rows(path)] == ["open", "rejected", "rejected", "dropped"]
    assert spool.check() == []


def test_a_salvage_takes_nothing_of_an_extended_row_for_unsent(spool: Spool, path: Path, tmp_path: Path) -> None:
    """The file and the WAL may hold the row as it was at different times."""
    leave_open(spool)
    for number in range(100):
        spool.append(b"%d" % number)
    for number in range(60):
        drop_one(spool)
        if number == 30:
            checkpoint(path)
    new = tmp_path / "new.db"
    salvage(path, new, "project")

    assert payloads(new)[-41:] == [b"open", *(b"%d" % number for number in range(60, 100))]
