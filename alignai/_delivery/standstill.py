"""Detection of a lease holder that does not upload, although it could."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignai._safe_logging import logger
from alignai.clock import monotonic

if TYPE_CHECKING:
    from pathlib import Path

    from alignai.spool import Backlog

_STANDSTILL_SECONDS = 60.0
"""How long a lease holder may go without an attempt. It tries once a minute, or releases the lease meanwhile."""


_MARGIN_SECONDS = 5.0
"""The margin beyond the time of one upload, if that is more than a minute."""


class Standstill:
    """
    Watches the process that holds the lease, for a process that does not.

    A holder keeps the lease if it is stopped (SIGSTOP), or if it has died and a child made by C code has the lock.

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
        """Log one warning if the holder has not tried an upload for a minute, although one is *due*."""
        now = monotonic()
        watched = now - self._looked_at < self._patience / 2  # or this process held it meanwhile, or was stopped
        self._looked_at = now
        if not watched or not due or backlog.moves != self._seen:
            self._seen, self._since, self._reported = backlog.moves, now, False
        elif now - self._since >= self._patience and not self._reported:
            self._reported = True
            holder = backlog.lease
            who = f"process {holder.pid} on {holder.host}" if holder else "another process"
            logger.warning(
                "%s holds the lease of %s, but has tried no upload for %d s, while events are pending. If it is "
                "stopped, continue it or end it. If it is gone, a process that it started holds the lease, until that "
                "ends",
                who,
                self._path,
                now - self._since,
            )
