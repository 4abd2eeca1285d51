"""The command line: `python -m alignai.spool COMMAND [PATH]`."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from alignai._settings import absolute, spool_path_from_environment
from alignai.cli.output import (
    as_json,
    as_rows,
    inspect,
    opened,
    printable,
    purged_as_rows,
    question,
    requeued_as_rows,
    salvaged_as_rows,
)
from alignai.cli.parser import parser
from alignai.exception import ConfigError
from alignai.spool.errors import SpoolError
from alignai.spool.salvage.rebuild import salvage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from alignai.spool.engine import Spool

    Shown = tuple[dict[str, Any], list[tuple[str, str]], int]
    """What a command has to say, for machines and for people, and its exit code."""

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


class NobodyToAskError(Exception):
    """A command must ask, and there is no terminal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        arguments: As on the command line, without the program's name; None for those of this process.

    Returns:
        0 where all is fine, 1 where the answer is bad, 2 where the command or its path is wrong.
    """
    given = parser().parse_args(arguments)
    try:
        figures, rows, code = _COMMANDS[given.command](given)
    except (SpoolError, ConfigError, NobodyToAskError) as error:
        _complain(str(error))
        return USAGE
    if given.json:
        print(as_json(figures))
    else:
        _print_table(rows)
    return code


def _inspect(given: argparse.Namespace) -> Shown:
    figures = inspect(_path(given))
    return figures, as_rows(figures), FINE


def _requeue(given: argparse.Namespace) -> Shown:
    with _changing(given) as spool:
        requeued = spool.requeue(given.older_than)
        figures = {"path": str(spool.path), **asdict(requeued), **_now(spool)}
        told = _tell(spool)
    return figures, requeued_as_rows(figures), BAD if requeued.damaged or told else FINE


def _purge(given: argparse.Namespace) -> Shown:
    if not given.yes and not sys.stdin.isatty():
        raise NobodyToAskError("purge deletes for good and must ask, but there is no terminal - add --yes")
    with _changing(given) as spool:
        selection = spool.select(given.state, given.older_than)
        agreed = given.yes or not selection.events or _agrees(question(selection, spool.path))
        purged = spool.purge(selection) if agreed else 0
        figures = {"path": str(spool.path), "state": given.state, "purged": purged, **_now(spool)}
        told = _tell(spool)
    return figures, purged_as_rows(figures), FINE if agreed and not told else BAD


def _salvage(given: argparse.Namespace) -> Shown:
    salvaged = salvage(given.damaged, given.new, given.project_id)
    figures = asdict(salvaged)
    return figures, salvaged_as_rows(figures), FINE if salvaged.complete else BAD


_COMMANDS: dict[str, Callable[[argparse.Namespace], Shown]] = {
    "inspect": _inspect,
    "requeue": _requeue,
    "purge": _purge,
    "salvage": _salvage,
}


def _path(given: argparse.Namespace) -> Path:
    return absolute(given.path) if given.path else spool_path_from_environment(os.environ)


@contextmanager
def _changing(given: argparse.Namespace) -> Iterator[Spool]:
    """The spool, to be changed; where that fails, what has befallen it is shown as well as the error."""
    with opened(_path(given)) as spool:
        try:
            yield spool
        except SpoolError:
            _tell(spool)
            raise


def _now(spool: Spool) -> dict[str, int]:
    stats = spool.stats()
    return {"pending": stats.pending, "rejected": stats.rejected, "dropped": stats.dropped}


def _agrees(asked: str) -> bool:
    """Whether the answer is yes; asked beside the output, which may go to a machine."""
    print(f"{asked} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _tell(spool: Spool) -> bool:
    """Show what has befallen the spool meanwhile; whether that is more than what was promised allows."""
    notices = list(spool.notices())
    for notice in notices:
        _complain(notice)
    return not all(notice.allowed for notice in notices)


def _complain(what: str) -> None:
    print(f"alignai.spool: {printable(what)}", file=sys.stderr)


def _print_table(rows: list[tuple[str, str]]) -> None:
    if not HAS_RICH:
        width = max(len(name) for name, _ in rows)
        print("\n".join(f"{name:<{width}}  {text}" for name, text in rows))
        return
    table = Table(show_header=False, box=None)
    for name, text in rows:
        table.add_row(Text(name, style="bold"), Text(text))
    Console(soft_wrap=True).print(table)
