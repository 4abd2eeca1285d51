"""`salvage`: copy the readable events of a corrupt spool into a new one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from alignai._console import printable
from alignai.cli.output import EXIT_OK, EXIT_PROBLEM, Answer, as_count
from alignai.spool.salvage import salvage

if TYPE_CHECKING:
    import argparse

HELP = "copy the readable events of a corrupt spool into a new one"
DESCRIPTION = (
    "Copy the readable events of a corrupt spool into a new one. The corrupt file, which no worker may have open, "
    "stays as it is, and nothing is overwritten. Events that were sent according to the file are skipped. If the file "
    "cannot say, events may be sent twice, under the same event id. Exits with 1 if anything could not be read."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("damaged", type=Path, metavar="DAMAGED", help="the file that was quarantined")
    parser.add_argument("new", type=Path, metavar="NEW", help="the spool to create")
    parser.add_argument("--project-id", metavar="ID", help="required if the corrupt file no longer contains it")


def run(args: argparse.Namespace) -> Answer:
    """Salvage the file, and count the events and pages that could not be read."""
    salvaged = salvage(args.damaged, args.new, args.project_id)
    rows = [
        ("damaged", f"{printable(salvaged.damaged)} (as it was)"),
        ("new", printable(salvaged.new)),
        ("project", printable(salvaged.project_id)),
        ("pending", as_count(salvaged.pending)),
        ("in flight", as_count(salvaged.in_flight)),
        ("rejected", as_count(salvaged.rejected)),
        ("skipped", f"{as_count(salvaged.skipped)} that had been sent or dropped"),
        ("unreadable", f"{as_count(salvaged.unreadable)} events, {as_count(salvaged.unreadable_pages)} pages"),
    ]
    return Answer(asdict(salvaged), rows, EXIT_OK if salvaged.complete else EXIT_PROBLEM)
