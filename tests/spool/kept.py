"""
Spools that are kept: one of each version of the format, to be opened for ever.

`python -m tests.spool.kept` makes the one of the version at hand, where there is none yet; it is never made anew.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from alignai.spool import Spool
from alignai.spool.format import VERSION
from tests.spool.look import ask

FOLDER = Path(__file__).parents[1] / "data"
PROJECT = "kept"
MUCH = 1 << 20
SENT, REJECTED, IN_FLIGHT, PENDING = 8, 2, 7, 13
LARGE = 12
"""The number of an event that does not fit on a page."""


def kept(version: int) -> Path:
    """The spool of a version of the format."""
    return FOLDER / f"spool-v{version}.db"


def event(number: int) -> bytes:
    """An event of the kept spools, counted from 1."""
    text = "Grüße \N{SNOWMAN} " * (2000 if number == LARGE else number)
    return json.dumps({"id": f"{number:032x}", "text": text}, ensure_ascii=False).encode()


def make(path: Path) -> None:
    """A spool with events in every state."""
    spool = Spool(path, project_id=PROJECT)
    for number in range(1, SENT + REJECTED + IN_FLIGHT + PENDING + 1):
        spool.append(event(number))
    while batch := spool.next_batch(4, MUCH):
        spool.mark_sent(batch)
        if batch.last == SENT:
            break
    batch = spool.next_batch(REJECTED, MUCH)
    assert batch
    spool.mark_rejected(batch, "the server's words", "refused")
    batch = spool.next_batch(IN_FLIGHT, MUCH)
    assert batch
    spool.mark_failed(batch, "no answer", fault=True)
    spool.split(batch)
    spool.close()
    ask(path, "PRAGMA wal_checkpoint(TRUNCATE)")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "spool.db")
        with kept(VERSION).open("xb") as target:
            target.write((Path(folder) / "spool.db").read_bytes())
