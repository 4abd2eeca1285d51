"""A transaction during which no other connection can write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sqlite import check_not_nested, roll_back
from .write_lock import Held

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from .connections import Connections


class Alone:
    """A transaction of the ledger that holds the write lock. See `Connections.alone`."""

    def __init__(self, connections: Connections, path: Path) -> None:
        self._ledger = connections.ledger
        self._path = path
        self._lock = Held(connections.lock, connections.lock.take)

    def __enter__(self) -> sqlite3.Connection:
        check_not_nested(self._ledger, self._path)
        try:
            self._lock.__enter__()
            self._ledger.execute("BEGIN IMMEDIATE")
        except BaseException:
            self.end()
            raise
        return self._ledger

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Roll back unless it was committed, and release the write lock."""
        roll_back(self._ledger)
        self._lock.release()
