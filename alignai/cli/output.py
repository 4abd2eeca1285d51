"""What the commands say of a spool, for people and for machines."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignai.spool.engine import Spool
from alignai.spool.holder import STATES, state_of
from alignai.spool.ledger import sql
from alignai.spool.stats import stats
from alignai.spool.storage.readonly import looking_at
from alignai.spool.storage.sqlite import has_wal_reset_bug

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alignai.spool.records import Selection


def inspect(path: Path) -> dict[str, Any]:
    """
    The spool's figures, by the names that scripts rely on.

    Raises:
        SpoolError: It cannot be looked at.
    """
    path = Path(os.path.realpath(path))  # the log is beside the file, not beside a link to it
    with looking_at(path) as db:
        figures = asdict(now := stats(db, path))
    if now.lease is not None:
        state = state_of(now.lease, path)
        alive = None if state == "unknown" else state in {"running", "stopped"}
        figures["lease"] = {**asdict(now.lease), "alive": alive, "state": state}
    figures["sqlite_version"] = sqlite3.sqlite_version
    figures["sqlite_wal_reset_bug"] = has_wal_reset_bug()
    return figures


@contextmanager
def opened(path: Path) -> Iterator[Spool]:
    """
    A spool that is there, to be changed, whoever's it is; none is made.

    Raises:
        SpoolError: There is none, or it cannot be changed.
    """
    path = Path(os.path.realpath(path))
    with looking_at(path) as db:
        (project_id,) = db.execute(sql.PROJECT).fetchone()
    spool = Spool(path, project_id=project_id, max_bytes=_NO_LIMIT)
    try:
        yield spool
    finally:
        spool.close()


_NO_LIMIT = 1 << 50
"""Workers keep to the limit that they were given; nothing here adds to what they have."""


def as_json(figures: dict[str, Any]) -> str:
    """For machines."""
    return json.dumps(figures, indent=2)


def as_rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """For people: what each figure is called, and how it reads."""
    return [
        ("spool", printable(figures["path"])),
        ("on disk", f"{_bytes(figures['bytes'])}, {_bytes(figures['wal_bytes'])} of it write-ahead log"),
        ("pending", _count(figures["pending"])),
        ("in flight", _count(figures["in_flight"])),
        ("sent", _count(figures["sent"])),
        ("rejected", _count(figures["rejected"])),
        ("dropped", _count(figures["dropped"])),
        ("oldest unsent", _age(figures["oldest_pending_seconds"])),
        ("uploader", _lease(figures["lease"])),
        ("last sent", _moment(figures["last_sent_at"])),
        ("last error", printable(figures["last_error"] or "none")),
        ("SQLite", _sqlite(figures)),
    ]


def requeued_as_rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """What `requeue` has done, for people."""
    return [
        ("spool", printable(figures["path"])),
        ("requeued", _count(figures["requeued"])),
        ("damaged", f"{_count(figures['damaged'])} (still rejected)"),
        ("pending", _count(figures["pending"])),
        ("rejected", _count(figures["rejected"])),
    ]


def question(selection: Selection, path: Path) -> str:
    """What `purge` asks."""
    what = f"{_count(selection.events)} {selection.state} events of {printable(str(path))}"
    return f"Delete {what} for good?" + (" They were never sent." if selection.state != "sent" else "")


def purged_as_rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """What `purge` has done, for people."""
    return [
        ("spool", printable(figures["path"])),
        ("purged", f"{_count(figures['purged'])} {figures['state']}"),
        ("pending", _count(figures["pending"])),
        ("rejected", _count(figures["rejected"])),
        ("dropped", _count(figures["dropped"])),
    ]


def salvaged_as_rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """What `salvage` has done, for people."""
    return [
        ("damaged", f"{printable(figures['damaged'])} (as it was)"),
        ("new", printable(figures["new"])),
        ("project", printable(figures["project_id"])),
        ("pending", _count(figures["pending"])),
        ("in flight", _count(figures["in_flight"])),
        ("rejected", _count(figures["rejected"])),
        ("left out", f"{_count(figures['left_out'])} that had been sent or given up"),
        ("unreadable", f"{_count(figures['unreadable'])} events, {_count(figures['unreadable_pages'])} pages"),
    ]


def printable(text: str) -> str:
    """*text* without what could play tricks on a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:  # noqa: PLR2004 - what the units mean
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def _count(number: int) -> str:
    return f"{number:,}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "nothing is unsent"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _lease(lease: dict[str, Any] | None) -> str:
    if lease is None:
        return "none: no process uploads"
    state = STATES[lease["state"]]
    return f"process {lease['pid']} on {printable(lease['host'])}, since {_moment(lease['since'])} ({state})"


def _moment(seconds: float | None) -> str:
    return "never" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _sqlite(figures: dict[str, Any]) -> str:
    bug = " (has the WAL-reset bug, which the spool guards against)" if figures["sqlite_wal_reset_bug"] else ""
    return f"{figures['sqlite_version']}{bug}"
