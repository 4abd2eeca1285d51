"""A damaged file is read without a word of its own that nothing else bears out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignai.spool import Spool
from alignai.spool.salvage.rebuild import salvage
from tests.support.spool_file import ask, payloads

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = [b"%06d" % number + b"." * 2000 for number in range(50)]
RESERVED = 20
"""The offset in the database header of the number of reserved bytes at the end of each page."""


def test_pages_are_read_as_what_they_are_whatever_the_head_says_of_them(path: Path) -> None:
    spool = Spool(path, project_id="project")
    for event in EVENTS:
        spool.append(event)
    spool.close()
    ask(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(RESERVED)
        file.write(b"\x0c")  # as much as some builds of SQLite leave
    salvaged = salvage(path, path.with_name("new.db"), "project")

    assert payloads(path.with_name("new.db")) == EVENTS
    assert salvaged.unreadable == 0
