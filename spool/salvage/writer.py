"""Write recovered rows into a new spool."""

from __future__ import annotations

import time
from bisect import bisect_right
from itertools import groupby
from typing import TYPE_CHECKING

from ..ledger import sql
from ..storage.sqlite import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from .rows import RecoveredBatch, RecoveredEvent, RecoveredRows

_COMMIT_BYTES = 4 << 20


class SpoolWriter:
    """A new spool that no other process knows yet."""

    def __init__(self, path: Path) -> None:
        self._db = connect(path, synchronous="full")
        self._db.execute("BEGIN")
        self._seq = 0
        self._uncommitted = 0

    def write_rejected(self, rows: RecoveredRows) -> int:
        """Write the rejected events, before all others, and return how many there are."""
        for row in rows.rejected():
            self._seq += 1
            self._db.execute(sql.KEEP_REJECTED, (self._seq, *row))
            self._wrote(row[-1])
        if self._seq:
            self._db.execute(sql.APPEND_BLANK, (self._seq, time.time()))  # otherwise their numbers would be used again
            self._db.execute(sql.SETTLED_AT_ONCE, (1, self._seq, self._seq, "rejected", time.time()))
            self._db.execute(sql.COUNT_REJECTED, (self._seq, None))
        return self._seq

    def write_events(self, rows: RecoveredRows) -> tuple[int, int]:
        """
        Write the unsettled events, in order, and return how many are pending and how many in flight.

        A batch stays a batch, under its request id, if all its events were recovered and no pending event comes before
        it. Otherwise its events become pending.
        """
        pending = in_flight = 0
        for batch, events in groupby(rows.events(), key=_batch_of(rows.open_batches())):
            first = self._seq + 1
            count = self._append(events)
            if batch and count == batch.last - batch.first + 1 and not pending:
                self._open(batch, first)
                in_flight += count
            else:
                pending += count
        return pending, in_flight

    def _append(self, events: Iterable[RecoveredEvent]) -> int:
        before = self._seq
        for event in events:
            self._seq = self._db.execute(sql.APPEND, (event.at, event.crc, event.payload)).lastrowid or 0
            self._wrote(event.payload)
        return self._seq - before

    def _open(self, batch: RecoveredBatch, first: int) -> None:
        count = self._seq - first + 1
        bounds = (first, self._seq, count, batch.request_id, batch.attempts, batch.faults, 0)
        self._db.execute(sql.OPEN_BATCH, bounds)

    def _wrote(self, payload: object) -> None:
        self._uncommitted += len(payload) if isinstance(payload, bytes) else 0
        if self._uncommitted > _COMMIT_BYTES:
            self._commit()
            self._db.execute("BEGIN")

    def _commit(self) -> None:
        self._db.execute("COMMIT")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # no other process can commit meanwhile
        self._uncommitted = 0

    def close(self) -> None:
        """Move everything into the file. SQLite deletes the WAL then."""
        if self._db.in_transaction:
            self._commit()
        self._db.close()


def _batch_of(batches: list[RecoveredBatch]) -> Callable[[RecoveredEvent], RecoveredBatch | None]:
    firsts = [batch.first for batch in batches]

    def of(event: RecoveredEvent) -> RecoveredBatch | None:
        at = bisect_right(firsts, event.seq) - 1
        return batches[at] if at >= 0 and event.seq <= batches[at].last else None

    return of
