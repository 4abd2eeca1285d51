"""Repair, when a spool is opened, of a WAL that SQLite does not see whole."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from ..clock import monotonic
from ..interruption import AllowingRefusal
from ..ledger.integrity import check
from .file_checks import is_cut
from .quarantine import quarantine_path
from .reports import header_damaged, rescued
from .sqlite import retry_while_busy
from .wal.rescue import (
    copy_whole,
    explained_by_power_loss,
    frames_beyond_damage,
    is_illegible,
    move_frames,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..records import Notice
    from .connections import Connections
    from .wal.parser import Frame


_PATIENCE = 1.0
"""Seconds to wait for the write lock. A process that holds it for longer does not write to the spool."""


def repair_wal(path: Path, connections: Connections, project_id: str, report: Callable[[Notice], object]) -> bool:
    """
    Move commits behind a damaged frame to a separate file.

    SQLite takes the first damaged frame for the end of the WAL, and would overwrite them. If the rest is consistent
    without them, as after a power cut, only they are quarantined. Only the first process to open the spool looks for
    them.

    Args:
        path: The spool.
        connections: The connections of this process, which no other thread uses.
        project_id: The project that the spool belongs to.
        report: Takes the notices.

    Returns:
        Whether the spool is corrupt without those commits, and must be quarantined whole.
    """
    act = _replace_illegible if is_illegible(path) else _rescue_unseen
    with suppress(sqlite3.OperationalError):
        return retry_while_busy(lambda: act(path, connections, project_id, report), monotonic() + _PATIENCE)
    return False


def _rescue_unseen(path: Path, connections: Connections, project_id: str, report: Callable[[Notice], object]) -> bool:
    if not connections.share.is_first and not is_cut(path, connections):
        return False  # without the write lock: many processes that start at once would keep it from the others
    with connections.alone():
        if is_cut(path, connections):
            return True
        frames: list[Frame] = []
        with suppress(sqlite3.OperationalError), AllowingRefusal():  # there is no room for a copy of the WAL
            frames = frames_beyond_damage(path, connections.page_size) if connections.share.is_first else []
        damaged = bool(frames and check(connections.ledger))
        if frames and not damaged:
            aside = quarantine_path(path)
            by_power_cut = explained_by_power_loss(path)
            move_frames(path, frames, aside)
            commits = sum(1 for frame in frames if frame.pages)
            report(rescued(path, aside, commits, project_id, by_power_cut=by_power_cut))
    return damaged


def _replace_illegible(
    path: Path, connections: Connections, project_id: str, report: Callable[[Notice], object]
) -> bool:
    """
    Restart a WAL whose header is damaged. Before that, copy it, since SQLite sees nothing of it.

    If other processes have it open, SQLite still knows what is in it, and moves that into the file.
    """
    with connections.alone():
        if not is_illegible(path):
            return False
        if not connections.checkpoint_passively():
            if check(connections.ledger):
                return True
            aside = quarantine_path(path)
            copy_whole(path, aside)
            report(header_damaged(path, aside, project_id))
    retry_while_busy(connections.restart_wal)
    return False
