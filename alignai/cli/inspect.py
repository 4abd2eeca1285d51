"""`inspect`: show the figures of a spool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alignai._console import printable
from alignai.cli.arguments import add_path, path_of
from alignai.cli.output import Answer, as_bytes, as_count, as_duration, as_time
from alignai.spool.inspection import STATES, inspect

if TYPE_CHECKING:
    import argparse

HELP = "show how much is pending, sent and rejected, which process uploads, and the last error"
DESCRIPTION = "Show the figures of a spool. Nothing is changed, and workers that are writing are not delayed."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_path(parser)


def run(args: argparse.Namespace) -> Answer:
    """Read the figures. Scripts rely on their names in the JSON."""
    figures = inspect(path_of(args))
    return Answer(figures, _rows(figures))


def _rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("spool", printable(figures["path"])),
        ("on disk", f"{as_bytes(figures['bytes'])}, {as_bytes(figures['wal_bytes'])} of it write-ahead log"),
        ("pending", as_count(figures["pending"])),
        ("in flight", as_count(figures["in_flight"])),
        ("sent", as_count(figures["sent"])),
        ("rejected", as_count(figures["rejected"])),
        ("dropped", as_count(figures["dropped"])),
        ("oldest unsent", _age(figures["oldest_pending_seconds"])),
        ("uploader", _uploader(figures["lease"])),
        ("last sent", as_time(figures["last_sent_at"])),
        ("last error", printable(figures["last_error"] or "none")),
        ("SQLite", _sqlite(figures)),
    ]


def _age(seconds: float | None) -> str:
    return "nothing is unsent" if seconds is None else as_duration(seconds)


def _uploader(lease: dict[str, Any] | None) -> str:
    if lease is None:
        return "none: no process uploads"
    state = STATES[lease["state"]]
    return f"process {lease['pid']} on {printable(lease['host'])}, since {as_time(lease['since'])} ({state})"


def _sqlite(figures: dict[str, Any]) -> str:
    bug = " (has the WAL-reset bug, which the spool guards against)" if figures["sqlite_wal_reset_bug"] else ""
    return f"{figures['sqlite_version']}{bug}"
