"""
Old spools: one of each version of the format, which every later version must open.

`python -m tests.support.old_spools` makes the one of the current version if there is none yet. It is never made again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from alignai.spool import Spool
from alignai.spool.ledger import transitions
from alignai.spool.storage.format import VERSION
from tests.support.spool_file import ask, transaction

FOLDER = Path(__file__).parents[1] / "data"
PROJECT = "kept"
MUCH = 1 << 20
PRUNED, DROPPED, SENT, REJECTED, IN_FLIGHT, PENDING = 3, 4, 8, 2, 7, 13
"""The number of events of each kind, in this order."""

SETTLED = PRUNED + DROPPED + SENT + REJECTED
ALL = SETTLED + IN_FLIGHT + PENDING
LARGE = 20
"""The number of an event that does not fit on a page."""


def kept(version: int) -> Path:
    """Return the path of the spool of a version of the format."""
    return FOLDER / f"spool-v{version}.db"


def event(number: int) -> bytes:
    """Return an event of the old spools, counted from 1."""
    text = "Grüße \N{SNOWMAN} " * (2000 if number == LARGE else number)
    return json.dumps({"id": f"{number:032x}", "text": text}, ensure_ascii=False).encode()


def make(path: Path) -> None:
    """Make a spool with events in every state."""
    spool = Spool(path, project_id=PROJECT, retention=0)
    append(spool, 1, PRUNED)
    send(spool, PRUNED)
    spool.maintain()
    append(spool, PRUNED + 1, PRUNED + DROPPED)
    with transaction(path) as db:
        transitions.drop(db, MUCH)
    append(spool, PRUNED + DROPPED + 1, ALL)
    for _ in range(2):
        send(spool, SENT // 2)
    batch = spool.next_batch(REJECTED, MUCH)
    assert batch
    spool.mark_rejected(batch, "the server's words", "refused")
    leave_open(spool)
    spool.close()
    ask(path, "PRAGMA wal_checkpoint(TRUNCATE)")


def append(spool: Spool, first: int, last: int) -> None:
    """Append these events."""
    for number in range(first, last + 1):
        spool.append(event(number))


def send(spool: Spool, count: int) -> None:
    """Send one batch of *count* events."""
    batch = spool.next_batch(count, MUCH)
    assert batch
    spool.mark_sent(batch)


def leave_open(spool: Spool) -> None:
    """Split a batch in two and let the first half fail once more."""
    batch = spool.next_batch(IN_FLIGHT, MUCH)
    assert batch
    spool.mark_failed(batch, "no answer", fault=True)
    spool.split(batch)
    half = spool.next_batch(IN_FLIGHT, MUCH)
    assert half
    spool.mark_failed(half, "no answer", fault=True)


def main() -> None:
    """Make the spool of the current version."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "spool.db"
        make(made)
        try:
            with kept(VERSION).open("xb") as target:
                target.write(made.read_bytes())
        except FileExistsError:
            sys.exit(f"{kept(VERSION)} exists already. An old spool is never made again")


if __name__ == "__main__":
    main()
