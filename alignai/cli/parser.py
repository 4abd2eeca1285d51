"""The command line's words: what may be said, and what `--help` tells."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from alignai.spool.ledger.selection import STATES

Commands = argparse._SubParsersAction  # noqa: SLF001 - it has no other name


def parser() -> argparse.ArgumentParser:
    """What reads the command line; `command` is the verb."""
    whole = argparse.ArgumentParser(
        prog="python -m alignai.spool",
        description="Look after a spool: the file where alignai keeps events until the server has them.",
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_inspect(commands)
    _add_requeue(commands)
    _add_purge(commands)
    _add_salvage(commands)
    return whole


def _add_inspect(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "inspect",
        help="how much is pending, sent and rejected, who uploads, what went wrong last",
        description="Show a spool's figures. Nothing is changed, and workers that are writing are not held up.",
    )
    _add_path(command)
    _add_json(command)


def _add_requeue(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "requeue",
        help="have rejected events uploaded again",
        description=(
            "Put rejected events back among those that are pending, behind them, the oldest first, under their event "
            "ids. A worker uploads them. Those that are damaged stay rejected. Exit code 1: some stayed."
        ),
    )
    _add_path(command)
    _add_age(command, "only what was rejected at least so long ago")
    _add_json(command)


def _add_purge(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "purge",
        help="delete events for good, by state and age",
        description=(
            "Delete events for good, after asking. Those that were not sent are counted as dropped. What is in flight "
            "stays, since the server may have it. Pending and sent events are deleted from the oldest on, up to the "
            "first that is too young or, among sent ones, not settled. Exit code 1: the answer was not yes."
        ),
    )
    _add_path(command)
    command.add_argument("--state", required=True, choices=STATES, help="which events")
    _add_age(command, "only what was rejected, appended or sent at least so long ago")
    command.add_argument("--yes", action="store_true", help="do not ask")
    _add_json(command)


def _add_salvage(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "salvage",
        help="what can be read of a damaged spool, into a new one",
        description=(
            "Read what can be read out of a damaged spool into a new one. The damaged file, which no worker may have "
            "open, stays as it is; nothing is overwritten. What the file says was sent is left out; where it cannot "
            "say, events may be sent twice, under the same event id. Exit code 1: not everything could be read."
        ),
    )
    command.add_argument("damaged", type=Path, metavar="DAMAGED", help="the file that was set aside")
    command.add_argument("new", type=Path, metavar="NEW", help="the spool to make")
    command.add_argument("--project-id", metavar="ID", help="where the damaged file no longer says it")
    _add_json(command)


def _add_path(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "path",
        nargs="?",
        type=Path,
        metavar="PATH",
        help="the spool file; without it ALIGNAI_SPOOL_PATH, or the default place for ALIGNAI_PROJECT_ID",
    )


def _add_age(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--older-than", type=_seconds, default=0.0, metavar="SECONDS", help=f"{what} (default: all)")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="for machines")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds, 0 or more")
    return seconds
