"""Which processes have the WAL of a spool open: the first one has to look whether the WAL is whole."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ...interruption import is_refusal
from ..paths import wal_of
from ..sqlite import BusyTimeout

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock

if TYPE_CHECKING:
    from pathlib import Path


class WalShare:
    """
    A `flock` on the WAL for as long as a process has it open: exclusive at first if there is no other, then shared.

    SQLite keeps no lock on the WAL. Only the first process to open it has to look for commits that SQLite does not
    see: it reads the WAL once, and knows of each later commit by the wal-index. To look takes long, so the others do
    not repeat it. They wait for the first, or they would write over what it looks for.

    Attributes:
        is_first: Whether no other process had the WAL open. It is True if that cannot be determined.
        descriptor: The WAL, opened to be read. None if the system refuses that.
    """

    def __init__(self) -> None:
        self.is_first = True
        self.descriptor: int | None = None

    def join(self, path: Path, *, keep_others_out: bool) -> None:
        """Take a share, and wait for the first process while it looks. The first one may keep others out."""
        if sys.platform == "win32":
            return
        try:
            self.descriptor = os.open(wal_of(path), os.O_RDONLY)
            if not self._lock(LOCK_EX):
                self.is_first = False
                patience = BusyTimeout()
                while not self._lock(LOCK_SH) and patience.wait():
                    pass
        except OSError as error:
            if not is_refusal(error):
                raise
        if not keep_others_out:
            self.let_others_in()

    def let_others_in(self) -> None:
        """Keep a share only: the WAL is whole now."""
        if self.is_first and self.descriptor is not None:
            self._lock(LOCK_SH)

    def _lock(self, kind: int) -> bool:
        assert self.descriptor is not None  # noqa: S101
        try:
            flock(self.descriptor, kind | LOCK_NB)
        except BlockingIOError as error:
            if not is_refusal(error):
                raise
            return False
        return True

    def close(self) -> None:
        """Give the share back. In a forked child this only closes the child's copy."""
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            os.close(descriptor)
