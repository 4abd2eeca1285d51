"""Run a command: parse its arguments, call it, print its answer, return its exit code."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from alignai._console import print_table
from alignai.cli.output import EXIT_INTERRUPTED, EXIT_USAGE, UsageError, dumps, print_error
from alignai.exception import ConfigError
from alignai.spool import SpoolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alignai.cli.output import Answer

_PROGRAM = "python -m alignai.spool"

COMMANDS = ("inspect", "requeue", "purge", "salvage")
"""The commands, each of them a module of this package."""


class Command(Protocol):
    """What the module of a command holds."""

    HELP: str
    """One line for the list of commands."""
    DESCRIPTION: str
    """What `COMMAND --help` says."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments. Every command also takes `--json`."""

    def run(self, args: argparse.Namespace) -> Answer:
        """
        Run the command.

        Raises:
            SpoolError, ConfigError, UsageError: The command cannot be run. The message has the reason and the remedy.
        """


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        argv: The arguments without the name of the program, or None for those of this process.

    Returns:
        0 if all is fine, 1 if the command found a problem, 2 if the command or its path is wrong, 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = _parser(argv).parse_args(argv)
    try:
        answer: Answer = args.run(args)
        _print(answer, as_json=args.json)
    except (SpoolError, ConfigError, UsageError) as error:
        print_error(str(error))
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return answer.exit_code


def _print(answer: Answer, *, as_json: bool) -> None:
    try:
        if as_json:
            print(dumps(answer.figures))
        else:
            print_table(answer.rows)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough. Python flushes once more at the exit, which must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        formatter_class=_Formatter,
        description="Manage a spool: the file in which alignai keeps events until the server has them.",
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", prog=_PROGRAM)  # or it formats a usage line
    # Only the module of the given command is imported: `inspect` must not wait for the imports of the others.
    for name in argv[:1] if argv and argv[0] in COMMANDS else COMMANDS:
        command = cast("Command", import_module(f"alignai.cli.{name}"))
        subparser = subparsers.add_parser(
            name, help=command.HELP, description=command.DESCRIPTION, formatter_class=_Formatter
        )
        command.add_arguments(subparser)
        subparser.add_argument("--json", action="store_true", help="print JSON")
        subparser.set_defaults(run=command.run)
    return parser


class _Formatter(argparse.HelpFormatter):
    """argparse's own, which is made for each argument and would import shutil to ask for the width."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
        except (ValueError, OSError):
            columns = 80
        super().__init__(prog, width=columns - 2)
