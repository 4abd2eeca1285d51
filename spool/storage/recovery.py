"""What is done with a write-ahead log that SQLite does not see whole when a spool is opened."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from ..clock import monotonic
from ..errors import SpoolCorruptError, SpoolError
from ..interruption import AllowingRefusal
from ..ledger.integrity import check
from ..records import Notice
from .limits import PENDING_BYTE
from .path_checks import linked
from .paths import size_of
from .quarantine import quarantine_path
from .sqlite import check_adapters, retry_while_busy
from .wal.rescue import (
    copy_whole,
    explained_by_power_loss,
    frames_beyond_damage,
    is_illegible,
    move_frames,
    pages_in_wal,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .connections import Connections
    from .wal.parser import Frame


_PATIENCE = 1.0
"""Seconds to wait for the write lock; whoever holds it for longer is no process that writes to the spool."""


def repair_wal(path: Path, connections: Connections, project_id: str, tell: Callable[[Notice], object]) -> bool:
    """
    Keep the commits of the log that SQLite does not see: it takes the first damaged frame for the end of the log.

    If the rest fits together without them, as after a power cut, they alone are set aside. Only the process that opens
    the spool first looks for them.

    Args:
        path: The spool.
        connections: Those of this process, which no other thread uses.
        project_id: The project that the spool belongs to.
        tell: Takes what belongs in a log.

    Returns:
        Whether the spool is damaged without those commits, and must be set aside whole.
    """
    act = _replace_illegible if is_illegible(path) else _rescue_unseen
    with suppress(sqlite3.OperationalError):
        return retry_while_busy(lambda: act(path, connections, project_id, tell), monotonic() + _PATIENCE)
    return False


def check_not_cut(path: Path, connections: Connections) -> None:
    """
    Compare the length of the file with what belongs in it, if it has become shorter; nothing happens while it may not.

    Raises:
        SpoolCorruptError: It was cut short: pages are neither in the file nor in the log.
    """
    if not connections.watch.file_shrank or connections.ledger.in_transaction:
        return
    with suppress(sqlite3.OperationalError), connections.alone():  # another process is writing: next time
        if is_cut(path, connections):
            raise SpoolCorruptError(f"spool {path}: it was cut short. Keep the file and its log.")
        connections.watch.accept_file_size()


def is_cut(path: Path, connections: Connections) -> bool:
    """Return whether pages are neither in the file nor in the log; the caller holds the write lock."""
    (pages,) = connections.ledger.execute("PRAGMA page_count").fetchone()
    in_file = size_of(path) // connections.page_size
    if in_file >= pages:
        return False
    lock_page = PENDING_BYTE // connections.page_size + 1
    return not set(range(in_file + 1, pages + 1)) - {lock_page} <= pages_in_wal(path, connections.page_size)


def check_unchanged(path: Path, connections: Connections) -> None:
    """
    Refuse to go on after what a running program may not do to a spool.

    Raises:
        SpoolError: The file has got a second name, or sqlite3 an adapter.
    """
    if connections.watch.has_second_name:
        raise SpoolError(linked(path))
    check_adapters(path)


LOST_AGAIN = (
    "its write-ahead log is lost or cut short again and again. Find the program that deletes or writes to the files of "
    "the spool (lsof), and end it."
)


def wal_replaced(path: Path) -> Notice:
    """Say that the log was deleted or replaced."""
    return Notice(
        f"the write-ahead log of spool {path} was deleted or replaced by something else on this machine; "
        "it was opened anew, and what was missing is appended again. Only ever open, copy or delete a spool "
        "through SQLite or this package"
    )


def cut_short(path: Path, aside: Path | None, project_id: str) -> Notice:
    """Say what has become of a log that was cut short."""
    kept = f" What was behind the gap was kept as {aside}. {salvage_hint(aside, project_id)}." if aside else ""
    return Notice(
        f"spool {path}: its write-ahead log was cut short or overwritten by another program. Events that were only in "
        f"it are missing, but for the last, which are appended again.{kept} Only ever open, copy or delete a spool "
        "through SQLite or this package"
    )


def _rescue_unseen(path: Path, connections: Connections, project_id: str, tell: Callable[[Notice], object]) -> bool:
    if not connections.share.is_first and not is_cut(path, connections):
        return False  # without the write lock, which many processes that start at once would keep from the others
    with connections.alone():
        if is_cut(path, connections):
            return True
        frames: list[Frame] = []
        with suppress(sqlite3.OperationalError), AllowingRefusal():  # there is no room for a copy of the log
            frames = frames_beyond_damage(path, connections.page_size) if connections.share.is_first else []
        damaged = bool(frames and check(connections.ledger))
        if frames and not damaged:
            aside = quarantine_path(path)
            by_power_cut = explained_by_power_loss(path)
            move_frames(path, frames, aside)
            commits = sum(1 for frame in frames if frame.pages)
            tell(_rescued(path, aside, commits, project_id, by_power_cut=by_power_cut))
    return damaged


def _replace_illegible(path: Path, connections: Connections, project_id: str, tell: Callable[[Notice], object]) -> bool:
    """
    Have a log whose header is damaged begun anew; what SQLite does not see of it is copied before.

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
            tell(
                Notice(
                    f"spool {path}: the header of its write-ahead log was damaged, so that SQLite took the log for "
                    f"empty. A copy of it was kept as {aside}-wal. {salvage_hint(aside, project_id)}"
                )
            )
    retry_while_busy(connections.restart_wal)
    return False


def _rescued(path: Path, aside: Path, commits: int, project_id: str, *, by_power_cut: bool) -> Notice:
    if by_power_cut:
        what = (
            f"this machine has stopped, and not all that had been written to the write-ahead log of spool {path} was "
            f"on its disk by then: the last {commits} commits in it were out of reach"
        )
    else:
        what = (
            f"the write-ahead log of spool {path} was damaged, so that the last {commits} commits in it were out of "
            "reach"
        )
    return Notice(f"{what}; they were set aside as {aside}. {salvage_hint(aside, project_id)}", allowed=by_power_cut)


def salvage_hint(aside: Path, project_id: str | None = None) -> str:
    """Say how to read out what was set aside; with its project if it may not name that itself."""
    hint = (
        "Events in it that were not sent can be read out of it: "
        f"python -m alignai.spool salvage {shlex.quote(str(aside))} NEW"
    )
    return f"{hint} --project-id {shlex.quote(project_id)}" if project_id else hint
