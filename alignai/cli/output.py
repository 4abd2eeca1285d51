"""How commands show figures, to people and to programs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from alignai._console import printable

if TYPE_CHECKING:
    from typing import Any

EXIT_OK: Final = 0
EXIT_PROBLEM: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
"""As a shell says it of a program that Ctrl-C has ended."""


class Answer:
    """
    The result of a command.

    Args:
        figures: For programs: printed as JSON.
        rows: For people: the name and the text of each row of a table.
        exit_code: `EXIT_OK` or `EXIT_PROBLEM`.
    """

    def __init__(self, figures: dict[str, Any], rows: list[tuple[str, str]], exit_code: int = EXIT_OK) -> None:
        self.figures = figures
        self.rows = rows
        self.exit_code = exit_code


class UsageError(Exception):
    """The command cannot be run in this way. The message has the reason and the remedy."""


def print_error(text: str) -> None:
    """Print an error or a warning beside the output, which may go to a program."""
    print(f"alignai.spool: {printable(text)}", file=sys.stderr)


def dumps(figures: dict[str, Any]) -> str:
    """Return *figures* as JSON."""
    import json  # noqa: PLC0415 - a table does not need it

    return json.dumps(figures, indent=2)


def as_bytes(number: float) -> str:
    """Return a number of bytes in the largest unit that fits."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:  # noqa: PLR2004 - the units' definition
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def as_count(number: int) -> str:
    """Return *number* with separators between the thousands."""
    return f"{number:,}"


def as_duration(seconds: float) -> str:
    """Return a number of seconds in a unit that suits it."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def as_time(seconds: float | None) -> str:
    """Return a moment in seconds since 1970 as a date and time, or "never" for None."""
    return "never" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
