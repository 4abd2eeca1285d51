"""The command line: `python -m alignai.spool COMMAND [PATH]`."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignai.config import spool_path_from_environment
from alignai.exception import ConfigError

from .commands import as_json, as_rows, inspect, printable, salvaged_as_rows
from .errors import SpoolError
from .salvage import salvage

if TYPE_CHECKING:
    from collections.abc import Sequence

    Shown = tuple[dict[str, Any], list[tuple[str, str]], int]
    """What a command has to say, for machines and for people, and its exit code."""
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no other name

FINE = 0
BAD = 1
USAGE = 2

try:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ImportError:
    HAS_RICH = False
else:
    HAS_RICH = True


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        arguments: As on the command line, without the program's name; None for those of this process.

    Returns:
        0 where all is fine, 1 where the answer is bad, 2 where the command or its path is wrong.
    """
    given = _parser().parse_args(arguments)
    try:
        shown: Shown = given.run(given)
    except (SpoolError, ConfigError) as error:
        print(f"alignai.spool: {printable(str(error))}", file=sys.stderr)
        return USAGE
    figures, rows, code = shown
    if given.json:
        print(as_json(figures))
    else:
        _print_table(rows)
    return code


def _inspect(given: argparse.Namespace) -> Shown:
    figures = inspect(given.path or spool_path_from_environment(os.environ))
    return figures, as_rows(figures), FINE


def _salvage(given: argparse.Namespace) -> Shown:
    salvaged = salvage(given.damaged, given.new, given.project_id)
    figures = asdict(salvaged)
    return figures, salvaged_as_rows(figures), FINE if salvaged.complete else BAD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m alignai.spool",
        description="Look after a spool: the file where alignai keeps events until the server has them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_inspect(commands)
    _add_salvage(commands)
    return parser


def _add_inspect(commands: Commands) -> None:
    command = commands.add_parser(
        "inspect",
        help="how much is pending, sent and rejected, who uploads, what went wrong last",
        description="Show a spool's figures. Nothing is changed, and workers that are writing are not held up.",
    )
    command.add_argument(
        "path",
        nargs="?",
        type=Path,
        metavar="PATH",
        help="the spool file; without it ALIGNAI_SPOOL_PATH, or the default place for ALIGNAI_PROJECT_ID",
    )
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(run=_inspect)


def _add_salvage(commands: Commands) -> None:
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
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(run=_salvage)


def _print_table(rows: list[tuple[str, str]]) -> None:
    if not HAS_RICH:
        width = max(len(name) for name, _ in rows)
        print("\n".join(f"{name:<{width}}  {text}" for name, text in rows))
        return
    table = Table(show_header=False, box=None)
    for name, text in rows:
        table.add_row(Text(name, style="bold"), Text(text))
    Console(soft_wrap=True).print(table)
