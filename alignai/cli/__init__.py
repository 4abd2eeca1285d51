"""The command line: `python -m alignai.spool COMMAND`. Each command is a module, named in `app.COMMANDS`."""

from alignai.cli.app import main

__all__ = ["main"]
