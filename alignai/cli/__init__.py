"""The command line: `python -m alignai.spool COMMAND`."""

from alignai.cli.app import main

__all__ = ["main"]
