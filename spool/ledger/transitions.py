"""
The transitions of events and batches: functions over a connection.

They run inside the caller's transaction, so that no event stays half way from one state to another.

    pending -> open -> sent | rejected | dropped -> pruned
"""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

from ..records import Batch
from . import queries, sql

if TYPE_CHECKING:
    import sqlite3

    from .rows import Open

MAX_DROPPED = 1000
"""Events dropped in one transaction when room is made for a newer one."""

MAX_PRUNED = 250
"""Events and batches deleted in one transaction at most, because other writers wait meanwhile."""

MAX_PRUNED_BYTES = 64 << 10
"""Bytes of events deleted in one transaction. A single event may have more."""

DAMAGED = "damaged: the checksum of the stored event does not match; it was never uploaded"


def create_batch(db: sqlite3.Connection, rows: list[queries.StoredRow]) -> Batch:
    """Create a batch of pending *rows*, which are all intact."""
    first, last = queries.batched_through(db) + 1, rows[-1][0]
    batch = Batch(first, last, uuid.uuid4().hex, tuple([payload for _, _, payload in rows]), 1, 0)
    db.execute(sql.OPEN_BATCH, (batch.first, batch.last, len(batch), batch.request_id, 1, 0, 1))
    return batch


def reject_damaged(db: sqlite3.Connection, row: queries.StoredRow) -> None:
    """Reject the first pending *row*, which is damaged. The ledger entry also covers rows missing before it."""
    seq, _, _ = row
    _cover(db, queries.batched_through(db) + 1, seq, 1, "rejected")
    _keep_damaged(db, seq)


def reopen_batch(db: sqlite3.Connection, row: Open) -> Batch | None:
    """
    Begin another upload of an open batch, and return it as it was.

    Return None if some of its rows are damaged or all are missing. The ledger was changed then, and there may be other
    open batches. Uploaders that died before there was an outcome change nothing about the batch, because the server
    may have it.
    """
    if queries.is_impossible(row):
        queries.report_invalid_batch(row.first)
    rows = db.execute(sql.COVERED, (row.first, row.last)).fetchall()
    if rows:
        queries.check_gaps(rows, row.first, row.last)
    batch = Batch(
        row.first, row.last, row.request_id, tuple(payload for _, _, payload in rows), row.attempts + 1, row.faults
    )
    if not rows:
        settle(db, batch, "dropped")
        db.execute(sql.COUNT_DROPPED, (row.events,))
    elif any(map(queries.checksum_mismatch, rows)):
        _reject_damaged_rows(db, batch, rows)
    else:
        db.execute(sql.REOPEN_BATCH, (row.crashes, row.first))
        return batch
    return None


def end_uploading(db: sqlite3.Connection) -> None:
    """Note that this process no longer uploads."""
    db.execute(sql.UPLOADS_NOTHING)
    db.execute(sql.GIVE_LEASE, (os.getpid(),))


def settle(db: sqlite3.Connection, batch: Batch, state: str) -> bool:
    """Note the outcome of *batch*. Return False if it already has one, or was replaced."""
    return db.execute(sql.SETTLE, (state, time.time(), batch.first, batch.request_id)).rowcount == 1


def mark_sent(db: sqlite3.Connection, batch: Batch) -> None:
    """Settle *batch* as sent: the server took it."""
    if settle(db, batch, "sent"):
        db.execute(sql.COUNT_SENT, (len(batch), time.time()))


def mark_failed(db: sqlite3.Connection, batch: Batch, error: str, *, fault: bool) -> None:
    """Note that an upload ended without an outcome. The batch stays open."""
    db.execute(sql.FAILED, (fault, batch.first, batch.request_id))
    db.execute(sql.NOTE_ERROR, (error,))


def reject(db: sqlite3.Connection, batch: Batch, reason: str, summary: str) -> None:
    """Settle *batch* as rejected, and keep its events with the *reason* that the server gave."""
    if settle(db, batch, "rejected"):
        moved = _move_rejected(db, batch.request_id, reason, batch.first, batch.last)
        db.execute(sql.COUNT_REJECTED, (moved, summary))


def split(db: sqlite3.Connection, batch: Batch) -> None:
    """Replace an open batch by its two halves, each a request of its own. A batch of one event stays as it is."""
    seqs = _covered(db, batch)
    if len(seqs) > 1 and _delete_batch(db, batch):
        _open_halves(db, batch.first, batch.last, seqs, batch.faults)


def mark_event_sent(db: sqlite3.Connection, batch: Batch, index: int) -> None:
    """Mark one event of an open batch as sent, after it was uploaded alone. The others become new batches."""
    seqs = _covered(db, batch)
    if not _delete_batch(db, batch):
        return
    taken, behind = seqs[index], seqs[index + 1 :]
    if index:
        _open(db, batch.first, taken - 1, index, batch.faults)
    db.execute(sql.SETTLED_AT_ONCE, (taken if index else batch.first, taken, 1, "sent", time.time()))
    db.execute(sql.COUNT_SENT, (1, time.time()))
    if behind:
        _open_halves(db, taken + 1, batch.last, behind, batch.faults)


def drop(db: sqlite3.Connection, max_bytes: int) -> int:
    """Drop about *max_bytes* of the oldest pending events, and return how many there were."""
    rows = queries.pending(db, queries.batched_through(db), MAX_DROPPED, max_bytes)
    if rows:
        drop_through(db, rows[-1][0])
    return len(rows)


def drop_through(db: sqlite3.Connection, last: int) -> int:
    """Drop the pending events up to row *last*, none of which is missing, and return how many there were."""
    start = queries.batched_through(db)
    _cover(db, start + 1, last, last - start, "dropped")
    _delete(db, start + 1, last)
    db.execute(sql.COUNT_DROPPED, (last - start,))
    return last - start


def prune(
    db: sqlite3.Connection, retention: float, upto: int | None = None, max_bytes: int = MAX_PRUNED_BYTES
) -> int | None:
    """
    Delete some of the oldest events that have been settled for *retention* seconds, and the batches that they were in.

    A step is bounded by count and bytes, and may end in the middle of a batch, which then stays until its last event
    is deleted.

    Returns:
        How many sent events were in the deleted batches, or None if there was nothing to delete.
    """
    batches = queries.prunable(db, retention, upto, MAX_PRUNED)
    if not batches:
        return None
    end = _end_of_step(db, batches[-1].last, min(max_bytes, MAX_PRUNED_BYTES))
    _delete(db, 0, end)
    whole = [batch for batch in batches if batch.last <= end]
    if whole:
        db.execute(sql.MARK_PRUNED, (whole[-1].first,))
        db.execute(sql.DELETE_BATCHES, (whole[-1].first,))
    return sum(batch.events for batch in whole if batch.state == "sent")


def _end_of_step(db: sqlite3.Connection, last: int, max_bytes: int) -> int:
    """Return the row up to which one step deletes: *last*, unless that would be too much at once."""
    size = 0
    rows = db.execute(sql.OLDEST_SIZES, (last, MAX_PRUNED + 1)).fetchall()
    for index, (_, length) in enumerate(rows):
        size += length
        if index and (index == MAX_PRUNED or size > max_bytes):
            return int(rows[index - 1][0])
    return last


def _cover(db: sqlite3.Connection, first: int, last: int, events: int, state: str) -> None:
    """
    Settle rows that were never uploaded.

    If the ledger entry before them is of the same kind, it is extended. Otherwise each event dropped or found damaged
    in an outage would leave an entry that cannot be pruned before the outage ends.
    """
    now = time.time()
    if not db.execute(sql.EXTEND_SETTLED, (last, events, now, first, first - 1, state)).rowcount:
        db.execute(sql.SETTLED_AT_ONCE, (first, last, events, state, now))


def _covered(db: sqlite3.Connection, batch: Batch) -> list[int]:
    return [row[0] for row in db.execute(sql.COVERED, (batch.first, batch.last))]


def _delete_batch(db: sqlite3.Connection, batch: Batch) -> bool:
    return db.execute(sql.DELETE_OPEN_BATCH, (batch.first, batch.request_id)).rowcount == 1


def _open_halves(db: sqlite3.Connection, first: int, last: int, seqs: list[int], faults: int) -> None:
    middle = len(seqs) // 2
    if middle:
        _open(db, first, seqs[middle - 1], middle, faults)
        first = seqs[middle - 1] + 1
    _open(db, first, last, len(seqs) - middle, faults)


def _open(db: sqlite3.Connection, first: int, last: int, events: int, faults: int) -> None:
    db.execute(sql.OPEN_BATCH, (first, last, events, uuid.uuid4().hex, 0, faults, 0))


def _keep_damaged(db: sqlite3.Connection, seq: int) -> None:
    moved = _move_rejected(db, "", DAMAGED, seq, seq)
    db.execute(sql.COUNT_REJECTED, (moved, DAMAGED))


def _move_rejected(db: sqlite3.Connection, request_id: str, reason: str, first: int, last: int) -> int:
    rows = db.execute(sql.TO_REJECT, (time.time(), request_id, reason, first, last)).fetchall()
    _delete(db, first, last)  # first, so that the rejected rows reuse its pages: a full volume has no others
    for row in rows:
        db.execute(sql.KEEP_REJECTED, row)
    return len(rows)


def _delete(db: sqlite3.Connection, first: int, last: int) -> None:
    """Delete settled events at once, because pruning waits for every older batch."""
    db.execute(sql.DELETE_EVENTS, (first, last))
    db.execute(sql.BLANK_EVENT, (first, last))


def _reject_damaged_rows(db: sqlite3.Connection, batch: Batch, rows: list[queries.StoredRow]) -> None:
    """Replace an open batch by its intact parts, and reject the damaged rows."""
    _delete_batch(db, batch)
    start, intact = batch.first, 0
    for row in rows:
        if not queries.checksum_mismatch(row):
            intact += 1
            continue
        seq, _, _ = row
        if intact:
            _open(db, start, seq - 1, intact, batch.faults)
            start = seq
        _cover(db, start, seq, 1, "rejected")
        _keep_damaged(db, seq)
        start, intact = seq + 1, 0
    if intact:
        _open(db, start, batch.last, intact, batch.faults)
