"""Upkeep: what keeps a spool safe and small, on a thread that no caller waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ledger import queries, transitions
from .steps import Steps
from .storage.changes import despite_full_volume
from .storage.connections import Links
from .storage.database import LogLostError
from .storage.limits import has_free_pages, is_sparse

if TYPE_CHECKING:
    from .storage.database import Access
    from .storage.limits import Space

_PRUNE_SECONDS = 0.2


class Upkeep:
    """
    The spool's housekeeping.

    Args:
        access: The connections.
        space: The limits.
        synchronous: "normal" or "full"; a full spool's log is synced by every commit.
        retention: Seconds that sent events are kept.

    Attributes:
        is_behind: Whether the last run has left something to delete.
    """

    def __init__(self, access: Access, space: Space, synchronous: str, retention: float) -> None:
        self._access = access
        self._space = space
        self._syncs = synchronous == "normal"
        self._retention = retention
        self._steps = Steps(access, space)
        self.is_behind = False

    def run(self) -> None:
        """Everything, in small steps; to be called about once a second."""
        self._access.notice_fork()
        self._prune()
        if self._verify_and_sync():
            self._checkpoint_where_long()
        if self._vacuum():
            self._access.write(Links.checkpoint)

    def finish(self, until: float | None = None) -> None:
        """Move the log into the file as far as no reader needs it; *until* as in `Patience`."""
        self._verify_and_sync()
        self._access.write(Links.checkpoint, until)

    def cut_log(self, until: float | None = None) -> None:
        """Leave a short log to whoever opens the spool next, and would read all of it; to be called after `finish`."""
        self._access.write(self._cut_unless_full, until)

    @staticmethod
    def _cut_unless_full(links: Links) -> None:
        """On a full volume its bytes are all that the next process may find to write to."""
        if not links.volume_full:
            links.cut_log()

    def _verify_and_sync(self) -> bool:
        """See the log in its place, and what was written since the last time on stable storage: if there was any."""
        access = self._access
        dirty = False
        try:
            try:
                with access.exclusive() as links:
                    access.verify(links)
                    dirty, access.dirty = access.dirty or links.unsynced, False
            except LogLostError:
                access.recover()
                with access.exclusive() as links:
                    dirty, access.dirty = True, False
            if dirty and self._syncs:
                with access.translating():
                    links.sync_log()
        except BaseException:
            access.dirty = True
            raise
        return dirty

    def _prune(self) -> None:
        """Bounded in time: the log is to be synced meanwhile, and closing waits for the run that is under way."""
        self.is_behind = self._has_prunable()
        if self.is_behind:
            self._steps.repeat(
                lambda db: transitions.prune(db, self._retention, max_bytes=self._steps.max_bytes), _PRUNE_SECONDS
            )
            self.is_behind = self._has_prunable()

    def _has_prunable(self) -> bool:
        with self._access.reading() as db:
            return bool(queries.prunable(db, self._retention))

    def _checkpoint_where_long(self) -> None:
        """The log has just been synced: that is the greater part of a checkpoint, and nobody has waited for it."""
        self._access.log_is_long = False
        self._access.write(self._checkpoint_if_long)

    def _checkpoint_if_long(self, links: Links) -> None:
        if links.log_bytes > self._space.checkpoint_at or links.must_shorten(0):
            links.checkpoint()

    def _vacuum(self) -> bool:
        with self._access.reading() as db:
            if not (has_free_pages(db) if self._access.links().volume_full else is_sparse(db)):
                return False
        despite_full_volume(self._access, lambda: self._access.write(Links.vacuum))
        return True
