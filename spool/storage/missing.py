"""Acknowledged rows that did not reach the file, as when the log they were in was deleted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..ledger import queries, sql
from .sqlite import patiently

if TYPE_CHECKING:
    from .connections import Links
    from .redo import Numbered, Row

_MOST_SEQ = (1 << 63) - 1


def append_missing(rows: list[Numbered], links: Links) -> list[Numbered]:
    """Append those of *rows* again that are not in the file, and return all; if that fails, *links* are closed."""
    if not rows:
        return rows
    try:
        # What is there is where it was; what is appended again, by an earlier try too, is behind the rest.
        behind = min(rows[0][0], queries.last_seq(links.reader) + 1)
        return [
            (
                _number(links, seq, seq, row)
                or _number(links, behind, _MOST_SEQ, row)
                or patiently(partial(_append, links, row)),
                row,
            )
            for seq, row in rows
        ]
    except BaseException:
        links.close()
        raise


def _append(links: Links, row: Row) -> int:
    with links.lock.held():
        return links.append.execute(sql.APPEND, row).lastrowid or 0


def _number(links: Links, first: int, last: int, row: Row) -> int:
    """The number of *row* if it is between these; 0 if it is not."""
    at, crc, payload = row
    found = links.reader.execute(sql.HOLDS, (first, last, crc, at, payload)).fetchone()
    return int(found[0]) if found else 0
