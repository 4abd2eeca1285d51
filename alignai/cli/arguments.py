"""Arguments that several commands take."""

from __future__ import annotations

import argparse
import math
import os

from alignai._spool_path import absolute, spool_path_from_environment


def add_path(parser: argparse.ArgumentParser) -> None:
    """Declare the spool that the command is about."""
    parser.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="the spool file (default: ALIGNAI_SPOOL_PATH, or the default path for ALIGNAI_PROJECT_ID)",
    )


def path_of(args: argparse.Namespace) -> str:
    """
    Return the path of the spool that the command is about, without symbolic links.

    Raises:
        ConfigError: No spool is named, or its path cannot be made absolute.
    """
    path = absolute(args.path) if args.path else spool_path_from_environment(os.environ)
    return os.path.realpath(path)  # the write-ahead log is beside the file, not beside a link to it


def add_older_than(parser: argparse.ArgumentParser, help_: str) -> None:
    """Declare the least age of the events that the command is about."""
    parser.add_argument(
        "--older-than", type=_seconds, default=0.0, metavar="SECONDS", help=f"{help_} (default: all events)"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds, 0 or more")
    return seconds
