"""`purge`: delete events for good."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from alignai._console import printable
from alignai.cli.arguments import add_older_than, add_path
from alignai.cli.changing import counts, open_spool, print_notices
from alignai.cli.output import EXIT_OK, EXIT_PROBLEM, Answer, UsageError, as_count
from alignai.spool.records import SELECTABLE_STATES

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from alignai.spool.records import Selection

HELP = "delete events for good, by state and age"
DESCRIPTION = (
    "Delete events for good, after asking. Events that were not sent are counted as dropped. Events in flight stay, "
    "since the server may have them. Pending and sent events are deleted oldest first, stopping at the first that is "
    "too recent or, among sent events, still in flight. Exits with 1 if the answer is not yes."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_path(parser)
    parser.add_argument("--state", required=True, choices=SELECTABLE_STATES, help="the state of the events to delete")
    add_older_than(parser, "only events rejected, appended or sent at least SECONDS ago")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> Answer:
    """Select events, ask, and delete the selected ones. Events that come meanwhile stay."""
    if not args.yes and not sys.stdin.isatty():
        raise UsageError("purge: it deletes for good and must ask, but the input is not a terminal. Add --yes.")
    with open_spool(args) as spool:
        selection = spool.select(args.state, args.older_than)
        confirmed = args.yes or not selection.events or _confirm(selection, spool.path)
        purged = spool.purge(selection) if confirmed else 0
        figures = {"path": str(spool.path), "state": args.state, "purged": purged, **counts(spool)}
        is_problem = print_notices(spool) or not confirmed
    rows = [
        ("spool", printable(str(spool.path))),
        ("purged", f"{as_count(purged)} {args.state}"),
        ("pending", as_count(figures["pending"])),
        ("rejected", as_count(figures["rejected"])),
        ("dropped", as_count(figures["dropped"])),
    ]
    return Answer(figures, rows, EXIT_PROBLEM if is_problem else EXIT_OK)


def _confirm(selection: Selection, path: Path) -> bool:
    """Ask on stderr, since the output may go to a program. Return True if the answer is yes."""
    events = f"{as_count(selection.events)} {selection.state} events of {printable(str(path))}"
    never_sent = " They were never sent." if selection.state != "sent" else ""
    print(f"Delete {events} for good?{never_sent} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
