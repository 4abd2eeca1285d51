"""Acknowledged rows that did not reach the file, as when the log they were in was deleted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from . import queries, sql
from .connection import patiently

if TYPE_CHECKING:
    from .links import Links
    from .recent import Numbered, Row

_MOST_SEQ = (1 << 63) - 1


def append_missing(rows: list[Numbered], links: Links) -> None:
    """Append those of *rows* again that are not in the file; if that fails, *links* are closed."""
    if not rows:
        return
    try:
        # What is there is where it was; what is appended again, by an earlier try too, is behind the rest.
        behind = min(rows[0][0], queries.last_seq(links.reader) + 1)
        for seq, row in rows:
            if not _holds(links, seq, seq, row) and not _holds(links, behind, _MOST_SEQ, row):
                patiently(partial(_append, links, row))
    except BaseException:
        links.close()
        raise


def _append(links: Links, row: Row) -> None:
    with links.lock.held():
        links.append.execute(sql.APPEND, row)


def _holds(links: Links, first: int, last: int, row: Row) -> bool:
    at, crc, payload = row
    return links.reader.execute(sql.HOLDS, (first, last, crc, at, payload)).fetchone() is not None
