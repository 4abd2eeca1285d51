"""What is done when the WAL was lost or cut short under open connections, or the file is corrupt."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from ..errors import is_lasting
from . import fork
from .limits import PAGE_SIZE
from .paths import identity
from .quarantine import is_corrupt, quarantine
from .reports import cut_short, quarantined, wal_replaced
from .sqlite import retry_while_busy
from .wal.renewal import renew_wal
from .write_lock import WriteLock

if TYPE_CHECKING:
    from .connections import Connections
    from .process_state import ProcessState


class WalLostError(Exception):
    """The WAL was deleted, replaced or cut short under open connections. `Database.recover` makes new ones."""


def recover(state: ProcessState) -> None:
    """
    Save what can be saved of a lost WAL, and close all connections of this process. The next use makes new ones.

    All are closed at once, because SQLite shares the wal-index between connections.
    """
    state.note_reconnecting()
    connections = state.opened
    replaced, index_was_cut = connections is not None and connections.watch.replaced, False
    with state.translate_errors():
        if connections:
            with state.write_mutex:
                index_was_cut = connections.watch.restore_index()
            retry_while_busy(partial(_rescue_wal, state, connections))
    if replaced:
        state.notices.append(wal_replaced(state.path))

    def renew() -> None:
        if connections and not replaced:
            _renew(state, connections.page_size, connections.watch.header, index_was_cut=index_was_cut)

    state.closed_everywhere(renew)


def _rescue_wal(state: ProcessState, connections: Connections) -> None:
    with state.write_mutex:  # but not between the attempts
        connections.rescue_wal()


def renewed_after(state: ProcessState, error: BaseException) -> bool:
    """Renew the WAL if *error* may come from its having been cut short, and return whether that was done."""
    # If another spool of this process has it open, its own recovery renews it.
    if not is_lasting(error, error.__cause__) or any(spool.opened for spool in fork.sharing(state.path)):
        return False
    _renew(state, PAGE_SIZE, b"", index_was_cut=False)
    return True


def _renew(state: ProcessState, page_size: int, header: bytes, *, index_was_cut: bool) -> None:
    with state.translate_errors(), closing(WriteLock(state.path)) as lock, lock.held_if_free():
        missing, aside = renew_wal(state.path, page_size, header, index_was_cut=index_was_cut)
    if missing:
        state.notices.append(cut_short(state.path, aside, state.project_id))
    state.broken = False


def quarantine_if_corrupt(state: ProcessState, *, sure: bool) -> None:
    """
    Quarantine the file. The next use creates a new one.

    Unless *sure*, a second look with new connections must find it corrupt too: to the old ones, a lost WAL looks like
    corruption.
    """
    connections = state.opened
    found = connections.watch.file if connections else identity(state.path)
    cut = connections if connections and connections.lost and not connections.watch.replaced else None

    def replace() -> None:
        if cut:  # the missing part looks like corruption, too
            _renew(state, cut.page_size, cut.watch.header, index_was_cut=cut.watch.restore_index())
        aside = quarantine(state.path, found) if (connections and sure and not cut) or is_corrupt(state.path) else None
        if aside:
            state.notices.append(quarantined(state.path, aside))

    state.closed_everywhere(replace)
