"""The command line: `python -m alignai.spool COMMAND [PATH]`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alignai.config import spool_path_from_environment
from alignai.exception import ConfigError

from .commands import as_json, as_rows, inspect, printable
from .errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Sequence

FINE = 0
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
        0 where all is fine, 2 where the command or its path is wrong.
    """
    given = _parser().parse_args(arguments)
    try:
        path = given.path or spool_path_from_environment(os.environ)
        figures = inspect(path)
    except (SpoolError, ConfigError) as error:
        print(f"alignai.spool: {printable(str(error))}", file=sys.stderr)
        return USAGE
    if given.json:
        print(as_json(figures))
    else:
        _print_table(as_rows(figures))
    return FINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m alignai.spool",
        description="Look after a spool: the file where alignai keeps events until the server has them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
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
    return parser


def _print_table(rows: list[tuple[str, str]]) -> None:
    if not HAS_RICH:
        width = max(len(name) for name, _ in rows)
        print("\n".join(f"{name:<{width}}  {text}" for name, text in rows))
        return
    table = Table(show_header=False, box=None)
    for name, text in rows:
        table.add_row(Text(name, style="bold"), Text(text))
    Console(soft_wrap=True).print(table)
