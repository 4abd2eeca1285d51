"""Acknowledged rows that did not reach the file, as when the WAL they were in was deleted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..ledger import queries, sql
from .sqlite import retry_while_busy

if TYPE_CHECKING:
    from .connections import Connections
    from .redo import Numbered, Row


def append_missing(rows: list[Numbered], connections: Connections) -> list[Numbered]:
    """Append again those of *rows* that are not in the file, and return all. If that fails, close *connections*."""
    if not rows:
        return rows
    try:
        # A row that is there has its old number. One that an earlier try has appended again is behind the rest.
        behind = min(rows[0][0], queries.last_seq(connections.reader) + 1)
        return [
            (
                _number(connections, seq, seq, row)
                or _number(connections, behind, sql.MAX_SEQ, row)
                or retry_while_busy(partial(_append, connections, row)),
                row,
            )
            for seq, row in rows
        ]
    except BaseException:
        connections.close()
        raise


def _append(connections: Connections, row: Row) -> int:
    with connections.lock.held():
        return connections.append.execute(sql.APPEND, row).lastrowid or 0


def _number(connections: Connections, first: int, last: int, row: Row) -> int:
    """Return the number of *row* if it is between *first* and *last*, otherwise 0."""
    at, crc, payload = row
    found = connections.reader.execute(sql.HOLDS, (first, last, crc, at, payload)).fetchone()
    return int(found[0]) if found else 0
