"""The spool: events on disk until the server has them. `python -m alignai.spool inspect` shows it."""

from .engine import Spool
from .errors import (
    AlignAIError,
    SpoolBusyError,
    SpoolClosedError,
    SpoolCorruptError,
    SpoolError,
    SpoolFullError,
    SpoolMismatchError,
    SpoolVersionError,
)
from .lease import Lease, load_filelock
from .records import Backlog, Batch, LeaseHolder, Stats

__all__ = [
    "AlignAIError",
    "Backlog",
    "Batch",
    "Lease",
    "LeaseHolder",
    "Spool",
    "SpoolBusyError",
    "SpoolClosedError",
    "SpoolCorruptError",
    "SpoolError",
    "SpoolFullError",
    "SpoolMismatchError",
    "SpoolVersionError",
    "Stats",
    "load_filelock",
]
