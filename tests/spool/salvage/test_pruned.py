"""Old versions of pages still show events that were pruned. Salvage counts them as settled, not as unsent."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool
from alignai.spool.ledger.transitions import MAX_PRUNED
from alignai.spool.salvage.rebuild import salvage
from tests.support.spool_file import ask, checkpoint, payloads, wal

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
SENT = [b"sent %06d" % number + b"." * 100 for number in range(2 * MAX_PRUNED)]
FIRST = MAX_PRUNED + 50
LATER = [b"later %06d" % number + b"." * 100 for number in range(20)]


def record(spool: Spool, events: list[bytes]) -> None:
    for event in events:
        spool.append(event)


@pytest.fixture
def pruned(path: Path, tmp_path: Path) -> Path:
    """
    A spool as a killed process leaves it, and nothing is damaged.

    Two batches were pruned in two steps. The first step ended within the first batch, and left a page with its last
    events, which the WAL still holds. The second step deleted the row of that batch from the ledger. The file no longer
    holds the row, since it has been checkpointed.
    """
    spool = Spool(path, project_id="project", retention=3600)
    record(spool, SENT)
    for events in (FIRST, len(SENT) - FIRST):
        batch = spool.next_batch(events, MIB)
        assert batch
        spool.mark_sent(batch)
    record(spool, LATER)
    assert spool.next_batch(len(LATER) // 2, MIB)
    spool.close()
    spool = Spool(path, project_id="project", retention=0)
    spool.maintain()
    checkpoint(path)
    left = tmp_path / "left.db"
    shutil.copy(path, left)
    shutil.copy(wal(path), wal(left))
    spool.close()
    return left


def test_pruned_events_are_not_sent_again(pruned: Path, tmp_path: Path) -> None:
    content = wal(pruned).read_bytes()
    assert any(event in content for event in SENT[:FIRST])  # or this tests nothing
    salvaged = salvage(pruned, tmp_path / "new.db")

    assert payloads(tmp_path / "new.db") == LATER
    assert (salvaged.in_flight, salvaged.pending) == (len(LATER) // 2, len(LATER) // 2)
    assert salvaged.complete


def test_the_newest_pruned_batch_stays_in_the_ledger(pruned: Path) -> None:
    assert ask(pruned, "SELECT first, last, state FROM batches ORDER BY first") == [
        (FIRST + 1, len(SENT), "pruned"),
        (len(SENT) + 1, len(SENT) + len(LATER) // 2, "open"),
    ]
