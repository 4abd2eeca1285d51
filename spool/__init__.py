"""The spool: events on disk until the server has them. `python -m alignai.spool inspect` shows it."""

from importlib import import_module
from typing import TYPE_CHECKING

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
from .interruption import AllowingRefusal, is_interruption, is_refusal

if TYPE_CHECKING:
    from .engine import Spool
    from .lease import Lease, load_filelock
    from .records import Backlog, Batch, LeaseHolder, Stats
    from .storage.locks import give_back, is_held

__all__ = [
    "AlignAIError",
    "AllowingRefusal",
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
    "give_back",
    "is_held",
    "is_interruption",
    "is_refusal",
    "load_filelock",
]

_HOMES = {
    "Spool": ".engine",
    **dict.fromkeys(("Lease", "load_filelock"), ".lease"),
    **dict.fromkeys(("give_back", "is_held"), ".storage.locks"),
    **dict.fromkeys(("Backlog", "Batch", "LeaseHolder", "Stats"), ".records"),
}
"""What is imported at the first use (PEP 562): `inspect` reads a spool without opening it as a `Spool`."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
