"""Changes of the ledger, which must be possible on a full volume too: or nothing would be sent, and no room made."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..errors import SpoolError, is_volume_full
from .connections import Links

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from .database import Access

T = TypeVar("T")


def change(access: Access, act: Callable[[sqlite3.Connection], T], until: float | None = None) -> T:
    """
    Have *act* change the ledger in a transaction. It is called again if the volume had no room for what it wrote.

    Raises:
        SpoolError: As `Access.transaction`.
    """

    def attempt() -> T:
        links = access.opened
        if links and links.is_beyond_reserve(links.log_bytes):
            access.write(Links.checkpoint, until)  # while there is room for it
        with access.transaction(until) as db:
            return act(db)

    return despite_full_volume(access, attempt, until)


def despite_full_volume(access: Access, write: Callable[[], T], until: float | None = None) -> T:
    """Call *write*; if the volume has no room for it, again with a short log, and with the room that was kept."""
    for relief in (Links.checkpoint, Links.use_reserve):
        try:
            return write()
        except SpoolError as error:
            if not is_volume_full(error):
                raise
        access.write(relief, until)
    return write()
