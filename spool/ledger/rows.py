"""
Rows of the ledger, as the queries return them.

Annotations are evaluated here, unlike elsewhere: `NamedTuple` compiles those that are strings, and loading the compiler
takes as long as all the other imports of `inspect` in this package.
"""

from typing import NamedTuple


class Open(NamedTuple):
    """An open row of the ledger."""

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
        """Uploaders in a row that ended without a word; the last one is counted until there is another."""
        return self.deaths + self.uploading


class Settled(NamedTuple):
    """A row of the ledger whose outcome is known."""

    first: int
    last: int
    events: int
    state: str
    settled_at: float
    next: int | None


class Totals(NamedTuple):
    """
    What the spool has counted since it was made, and what it remembers of its sender.

    The lease is the process that uploads, if one does: its number, its host, and since when.
    """

    sent: int
    rejected: int
    dropped: int
    flush_to: int
    last_sent_at: float | None
    last_error: str | None
    lease: tuple[int, str, float] | None
