"""The values that a spool returns. They are immutable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self


class Notice(str):
    """
    A sentence about the spool that belongs in a log.

    Attributes:
        allowed: Whether the promises of the spool allow it, so that it is logged as a warning and not as an error.
    """

    __slots__ = ("allowed",)

    allowed: bool

    def __new__(cls, text: str, *, allowed: bool = False) -> Self:
        """Create a notice with this *text*."""
        notice = super().__new__(cls, text)
        notice.allowed = allowed
        return notice


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Consecutive events that are uploaded as one request.

    The request id and the bounds are committed before the first upload and stay until the outcome is known. So a repeat
    is the same request.

    Attributes:
        first: Number of the first row.
        last: Number of the last row.
        request_id: 32 hex digits, the idempotency key of the request.
        payloads: The events, byte for byte as they were appended.
        attempts: Uploads begun, including this one.
        faults: Uploads on which the server itself failed.
    """

    first: int
    last: int
    request_id: str
    payloads: tuple[bytes, ...]
    attempts: int
    faults: int

    @property
    def size(self) -> int:
        """Bytes of all payloads."""
        return sum(map(len, self.payloads))

    def __len__(self) -> int:
        return len(self.payloads)


@dataclass(frozen=True, slots=True)
class Backlog:
    """
    The pending events and open batches.

    Attributes:
        pending: How many events are in no batch yet.
        oldest_at: When the oldest pending event was appended, or None if there is none.
        open_batches: How many batches have no outcome yet.
        crashes: Uploaders in a row that ended while they uploaded the oldest open batch.
        flush_to: The last row for which any process has requested a flush.
        batched_through: The last row that has been given to a batch.
        moves: A value that changes when an upload begins or ends.
        lease: The process that uploads, if one does.
    """

    pending: int
    oldest_at: float | None
    open_batches: int
    crashes: int
    flush_to: int
    batched_through: int
    moves: object
    lease: LeaseHolder | None


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """The process that holds the lease, and since when."""

    pid: int
    host: str
    since: float


@dataclass(frozen=True, slots=True)
class Stats:
    """
    The figures of a spool at one moment.

    Attributes:
        path: The spool file.
        bytes: Bytes on disk that count in `max_spool_bytes`, including the WAL, the wal-index and the reserve.
        wal_bytes: Bytes of the WAL alone.
        pending: Events not yet part of a batch.
        in_flight: Events of batches whose outcome is not known.
        sent: Events that the server took since the spool was created.
        rejected: Events that the server refused, which are kept in the spool.
        dropped: Events deleted unsent since the spool was created, by `purge` or "drop_oldest".
        oldest_pending_seconds: Age of the oldest event that is pending or in flight.
        lease: The process that uploads, if one does.
        last_sent_at: When the server last took a batch, in seconds since 1970.
        last_error: The last error, without the contents of any event.
    """

    path: str
    bytes: int
    wal_bytes: int
    pending: int
    in_flight: int
    sent: int
    rejected: int
    dropped: int
    oldest_pending_seconds: float | None
    lease: LeaseHolder | None
    last_sent_at: float | None
    last_error: str | None

    @property
    def unsent(self) -> int:
        """Events whose outcome is not known: pending and in flight."""
        return self.pending + self.in_flight


SELECTABLE_STATES = ("rejected", "pending", "sent")
"""The states of events that may be purged. Never events in flight: the server may have them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """
    The events that `requeue` or `purge` concerns: those that existed when they were selected, and no later ones.

    Attributes:
        state: "rejected", "pending" or "sent".
        before: They entered that state by this time, in seconds since 1970. None if their age does not matter.
        upto: The last row that may be one of them.
        events: How many there were.
    """

    state: str
    before: float | None
    upto: int
    events: int


@dataclass(frozen=True, slots=True)
class Requeued:
    """How many events were requeued, and how many stay rejected because they are damaged."""

    requeued: int
    damaged: int
