"""Notice that the process that uploads gets nowhere, though nothing keeps it from it but itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignai._safe_logging import logger
from alignai.clock import monotonic

if TYPE_CHECKING:
    from pathlib import Path

    from alignai.spool import Backlog

_STANDSTILL_SECONDS = 60.0
"""How long nothing may have been tried. Any uploader tries once a minute, or gives the lease back meanwhile."""


_MARGIN_SECONDS = 5.0
"""By how much longer than one upload may take, where that is more than a minute."""


class Standstill:
    """
    The watch of a process that does not hold the lease over the one that does.

    A holder that is stopped (SIGSTOP), or that has died and left a child of C code with the lock, keeps the lease.

    Args:
        path: The spool.
        request_timeout: How long an upload may take.
    """

    def __init__(self, path: Path, request_timeout: float) -> None:
        self._path = path
        self._patience = max(_STANDSTILL_SECONDS, request_timeout + _MARGIN_SECONDS)
        self._looked_at = 0.0
        self._since = 0.0
        self._seen: object = None
        self._reported = False

    def look(self, backlog: Backlog, *, due: bool) -> None:
        """Log one warning if the uploader has not moved for a minute, though something is *due*."""
        now = monotonic()
        watched = now - self._looked_at < self._patience / 2  # or this process has led meanwhile, or was stopped
        self._looked_at = now
        if not watched or not due or backlog.moves != self._seen:
            self._seen, self._since, self._reported = backlog.moves, now, False
        elif now - self._since >= self._patience and not self._reported:
            self._reported = True
            holder = backlog.lease
            who = f"process {holder.pid} on {holder.host}" if holder else "another process"
            logger.warning(
                "%s holds the lease of %s, but has tried no upload for %d s, while events wait. If it is stopped, let "
                "it go on or end it; if it is gone, a process that it started holds the lease until it ends",
                who,
                self._path,
                now - self._since,
            )
