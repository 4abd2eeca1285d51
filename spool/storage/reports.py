"""The notices of a spool that was corrupt, or whose WAL was lost or damaged."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ..records import Notice

if TYPE_CHECKING:
    from pathlib import Path

LOST_AGAIN = (
    "its write-ahead log is lost or cut short again and again. Find the program that deletes or writes to the files of "
    "the spool (lsof), and end it."
)


_ONLY_THROUGH_SQLITE = "Open, copy and delete a spool only through SQLite or this package."


def wal_replaced(path: Path) -> Notice:
    """Report that the WAL was deleted or replaced."""
    return Notice(
        f"spool {path}: its write-ahead log was deleted or replaced by another program on this machine. The spool was "
        f"opened again, and appends the missing events of the last moments again. {_ONLY_THROUGH_SQLITE}"
    )


def cut_short(path: Path, aside: Path | None, project_id: str) -> Notice:
    """Report that the WAL was cut short, and in which file the commits behind the gap are, if there were any."""
    kept = f" The commits behind the gap were moved to {aside}. {salvage_hint(aside, project_id)}." if aside else ""
    return Notice(
        f"spool {path}: its write-ahead log was cut short or overwritten by another program. Events that were only in "
        f"it are missing, except those of the last moments, which are appended again.{kept} {_ONLY_THROUGH_SQLITE}"
    )


def rescued(path: Path, aside: Path, commits: int, project_id: str, *, by_power_cut: bool) -> Notice:
    """Report that SQLite did not see the last *commits* of the WAL, and in which file they are."""
    cause = "after a power loss" if by_power_cut else "because the log is damaged"
    return Notice(
        f"spool {path}: the last {commits} commits in its write-ahead log could not be applied {cause}. "
        f"They were moved to {aside}. {salvage_hint(aside, project_id)}",
        allowed=by_power_cut,
    )


def header_damaged(path: Path, aside: Path, project_id: str) -> Notice:
    """Report that the header of the WAL was damaged, and in which file a copy of the WAL is."""
    return Notice(
        f"spool {path}: the header of its write-ahead log was damaged, so that SQLite took the log for empty. "
        f"A copy of it was kept as {aside}-wal. {salvage_hint(aside, project_id)}"
    )


def quarantined(path: Path, aside: Path) -> Notice:
    """Report that the file was corrupt, and its new name."""
    return Notice(
        f"spool {path}: the file was corrupt. It was quarantined, whole, as {aside}, and a new spool was started. "
        + salvage_hint(aside)
    )


def salvage_hint(aside: Path, project_id: str | None = None) -> str:
    """Return the command that recovers events from *aside*, with their project if the file may not name it itself."""
    hint = (
        "To recover the events in it that were not sent, run: "
        f"python -m alignai.spool salvage {shlex.quote(str(aside))} NEW"
    )
    return f"{hint} --project-id {shlex.quote(project_id)}" if project_id else hint
