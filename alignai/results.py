"""Results of the SDK: of a flush, and the figures of a client."""

from __future__ import annotations

from dataclasses import dataclass

from alignai.spool import Stats


@dataclass(frozen=True, slots=True)
class FlushResult:
    """
    The result of a flush. It is true if no events remain.

    Attributes:
        sent: Events that the server accepted during the flush.
        remaining: Events committed before the flush that are still unsent. They are on disk.
        rejected: Events that the server rejected during the flush. They are kept on disk.
    """

    sent: int = 0
    remaining: int = 0
    rejected: int = 0

    def __bool__(self) -> bool:
        return self.remaining == 0


@dataclass(frozen=True, slots=True)
class ClientStats(Stats):
    """
    The figures of the spool at one moment, and of the events that this client did not record.

    Attributes:
        lost: Events not recorded because the spool refused them or `before_spool` failed, if `on_spool_error` is "log".
        filtered: Events not recorded because `before_spool` returned None.
    """

    lost: int = 0
    filtered: int = 0
