"""What is reported when a spool was lost in part, damaged or recovered: texts, and the notices made of them."""

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


def rescued(path: Path, aside: Path, commits: int, project_id: str, *, by_power_cut: bool) -> Notice:
    """Say that commits were out of reach, and where they are."""
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


def header_damaged(path: Path, aside: Path, project_id: str) -> Notice:
    """Say that the header of the log was damaged, and where a copy of the log is."""
    return Notice(
        f"spool {path}: the header of its write-ahead log was damaged, so that SQLite took the log for "
        f"empty. A copy of it was kept as {aside}-wal. {salvage_hint(aside, project_id)}"
    )


def quarantined(path: Path, aside: Path) -> Notice:
    """Say that the file was damaged, and where it is."""
    return Notice(
        f"spool {path} was damaged; it was set aside, whole, as {aside}, and a new one was begun. "
        + salvage_hint(aside)
    )


def salvage_hint(aside: Path, project_id: str | None = None) -> str:
    """Say how to read out what was set aside; with its project if it may not name that itself."""
    hint = (
        "Events in it that were not sent can be read out of it: "
        f"python -m alignai.spool salvage {shlex.quote(str(aside))} NEW"
    )
    return f"{hint} --project-id {shlex.quote(project_id)}" if project_id else hint
