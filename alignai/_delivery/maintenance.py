"""The maintenance of one spool on a thread of its own, and closing the spool after its last user."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from alignai._delivery.background import BackgroundThread
from alignai._delivery.users import Users
from alignai._safe_logging import logger
from alignai.clock import monotonic
from alignai.deadline import Deadline

if TYPE_CHECKING:
    from alignai._delivery.sender import Sender
    from alignai.spool import Spool

_INTERVAL_SECONDS = 0.5

_GRACE_SECONDS = 0.05
"""How long closing the spool may wait for other processes that write, beyond a deadline that has passed."""


class MaintenanceThread:
    """
    A spool that senders of this process share, and the thread that keeps it safe and small.

    The last thread to end closes the spool.

    Args:
        spool: The spool.

    Attributes:
        users: The senders that use the spool.
        pid: The process that its thread runs in.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.users: Users[Sender] = Users()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin as in a new process: the thread belongs to the parent."""
        self.users.reset_after_fork()
        self._due = Deadline.after(0)
        self.thread = BackgroundThread("alignai-maintenance", self._tick, self._on_stop)
        self.pid = os.getpid()

    def leave(self, sender: Sender) -> None:
        """Remove *sender*, whose thread has ended. After the last one the spool is closed."""
        self.users.leave(sender)
        if self.users.ended:
            self.thread.stop()

    def stop(self, deadline: Deadline) -> None:
        """End the thread by *deadline*, unless another sender is in use, and close the spool if no sender is left."""
        if all(sender.users.ended for sender in self.users):
            self.thread.stop()
            if self.thread.join(deadline) and self.users.ended:
                self._close_spool(max(deadline.at, monotonic() + _GRACE_SECONDS))

    def _tick(self) -> float:
        for sender in self.users:
            sender.supervise()
        if not self._due.expired and not self.spool.maintenance_due:
            return self._due.remaining  # woken during the last maintenance
        self.maintain()
        return 0.0 if self.spool.maintenance_due else _INTERVAL_SECONDS

    def maintain(self) -> None:
        """Maintain the spool now, as is due about once a second, and log its notices."""
        try:
            self.spool.maintain()
        finally:
            self._due = Deadline.after(_INTERVAL_SECONDS)
            self._log_notices()

    def _on_stop(self) -> None:
        if self.thread.stopping and self.users.ended:
            self._close_spool()

    def _close_spool(self, until: float | None = None) -> None:
        self.spool.close(until)
        self._log_notices()

    def _log_notices(self) -> None:
        for notice in self.spool.notices():
            logger.log(logging.WARNING if notice.allowed else logging.ERROR, "%s", notice)
