"""What the SDK answers: how a flush went, and how the spool stands."""

from __future__ import annotations

from dataclasses import dataclass

from alignai.spool import Stats


@dataclass(frozen=True, slots=True)
class FlushResult:
    """
    What a flush came to; true where nothing remains.

    Attributes:
        sent: Events that the server took during the flush.
        remaining: Events committed before the flush that are still unsent; they are on disk.
        rejected: Events that the server refused during the flush; they are kept on disk.
    """

    sent: int = 0
    remaining: int = 0
    rejected: int = 0

    def __bool__(self) -> bool:
        return self.remaining == 0


@dataclass(frozen=True, slots=True)
class ClientStats(Stats):
    """
    The spool at one moment, and what this client could not put there.

    Attributes:
        lost: Events not recorded because the spool refused them or `before_spool` failed, if `on_spool_error` is "log".
        filtered: Events not recorded because `before_spool` returned None.
    """

    lost: int = 0
    filtered: int = 0
