"""
Rows of the ledger, as the queries return them.

Annotations are evaluated here, unlike elsewhere: `NamedTuple` compiles those that are strings, and loading the compiler
takes as long as all the other imports of `inspect` in this package.
"""

from typing import NamedTuple


class Open(NamedTuple):
    """A ledger entry whose outcome is not known."""

    first: int
    last: int
    events: int
    request_id: str
    attempts: int
    faults: int
    deaths: int
    uploading: int

    @property
    def crashes(self) -> int:
        """How many uploaders in a row ended without reporting an outcome, including the current one."""
        return self.deaths + self.uploading


class Settled(NamedTuple):
    """A ledger entry that is not pruned, and the beginning of the next one."""

    first: int
    last: int
    events: int
    state: str
    settled_at: float
    next: int | None


class Totals(NamedTuple):
    """
    The summary row: what was counted since the spool was created, and the note of the lease.

    The lease is the process that uploads, if one does: its number, its host, and since when.
    """

    sent: int
    rejected: int
    dropped: int
    flush_to: int
    last_sent_at: float | None
    last_error: str | None
    lease: tuple[int, str, float] | None
