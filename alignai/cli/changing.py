"""Open a spool to change it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alignai.cli.arguments import path_of
from alignai.cli.output import print_error
from alignai.spool import Spool, SpoolError
from alignai.spool.inspection import project_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_NO_LIMIT = 1 << 50
"""Only the limit of the workers counts. No command adds events."""


@contextmanager
def open_spool(args: argparse.Namespace) -> Iterator[Spool]:
    """
    Open the spool that the command is about, whichever project's it is. No spool is created.

    If the command fails, the notices of the spool are printed as well as the error.

    Raises:
        SpoolError: There is no spool, or it cannot be changed.
    """
    path = path_of(args)
    spool = Spool(Path(path), project_id=project_of(path), max_bytes=_NO_LIMIT)
    try:
        yield spool
    except SpoolError:
        print_notices(spool)
        raise
    finally:
        spool.close()


def print_notices(spool: Spool) -> bool:
    """Print the notices of the spool, and return True if any of them says that a promise was broken."""
    notices = list(spool.notices())
    for notice in notices:
        print_error(notice)
    return not all(notice.allowed for notice in notices)


def counts(spool: Spool) -> dict[str, int]:
    """Return the numbers of events that a change has left."""
    stats = spool.stats()
    return {"pending": stats.pending, "rejected": stats.rejected, "dropped": stats.dropped}
