"""`requeue`: upload rejected events again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from alignai._console import printable
from alignai.cli.arguments import add_older_than, add_path
from alignai.cli.changing import counts, open_spool, print_notices
from alignai.cli.output import EXIT_OK, EXIT_PROBLEM, Answer, as_count

if TYPE_CHECKING:
    import argparse

HELP = "upload rejected events again"
DESCRIPTION = (
    "Move rejected events to the end of the queue, the oldest first, under their event ids. A worker uploads them. "
    "Damaged events stay rejected. Exits with 1 if any event stayed rejected because it is damaged."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_path(parser)
    add_older_than(parser, "only events rejected at least SECONDS ago")


def run(args: argparse.Namespace) -> Answer:
    """Requeue the events, and count those that are damaged."""
    with open_spool(args) as spool:
        requeued = spool.requeue(args.older_than)
        figures = {"path": str(spool.path), **asdict(requeued), **counts(spool)}
        is_problem = print_notices(spool) or requeued.damaged > 0
    rows = [
        ("spool", printable(figures["path"])),
        ("requeued", as_count(figures["requeued"])),
        ("damaged", f"{as_count(figures['damaged'])} (still rejected)"),
        ("pending", as_count(figures["pending"])),
        ("rejected", as_count(figures["rejected"])),
    ]
    return Answer(figures, rows, EXIT_PROBLEM if is_problem else EXIT_OK)
