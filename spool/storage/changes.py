"""Changes of the ledger, which must be possible on a full volume too: or nothing would be sent, and no room made."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..errors import SpoolError, is_volume_full
from .connections import Connections

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from .database import Database

T = TypeVar("T")


def change(database: Database, act: Callable[[sqlite3.Connection], T], until: float | None = None) -> T:
    """
    Have *act* change the ledger in a transaction. It is called again if the volume had no room for what it wrote.

    Raises:
        SpoolError: As `Database.transaction`.
    """

    def attempt() -> T:
        connections = database.opened
        if connections and connections.is_beyond_reserve(connections.wal_bytes):
            database.write(Connections.checkpoint, until)  # while there is room for it
        with database.transaction(until) as db:
            return act(db)

    return despite_full_volume(database, attempt, until)


def despite_full_volume(database: Database, write: Callable[[], T], until: float | None = None) -> T:
    """Call *write*. If the volume has no room for it, call it again with a short WAL, then with the reserve."""
    for relief in (Connections.checkpoint, Connections.use_reserve):
        try:
            return write()
        except SpoolError as error:
            if not is_volume_full(error):
                raise
        database.write(relief, until)
    return write()
