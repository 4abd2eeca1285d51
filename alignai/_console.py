"""Text for a terminal: tables, and text from outside without control characters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def print_table(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values as a table, drawn by rich if it is installed and the output is a terminal."""
    if not (sys.stdout.isatty() and _print_rich_table(rows)):
        width = max(len(name) for name, _ in rows)
        print("\n".join(f"{name:<{width}}  {text}" for name, text in rows), flush=True)


def _print_rich_table(rows: Sequence[tuple[str, str]]) -> bool:
    try:
        from rich.console import Console  # noqa: PLC0415 - it takes longer to import than a spool to inspect
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415
    except ImportError:
        return False
    table = Table(show_header=False, box=None)
    for name, text in rows:
        table.add_row(Text(name, style="bold"), Text(text))
    Console(soft_wrap=True).print(table)
    return True


def printable(text: str) -> str:
    """Return *text* with its control characters and other unprintable characters as escape sequences."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
