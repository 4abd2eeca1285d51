"""Reading what can be read out of a damaged spool into a new one."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from ..errors import SpoolCorruptError, SpoolError, from_os_error
from ..interruption import is_refusal
from ..ledger import sql
from ..storage import fork
from ..storage.files import remove_stale_scratch, scratch_folder, sync_folder
from ..storage.format import check_version
from ..storage.ownership import give_to_owner
from ..storage.paths import journal_of, shm_of, wal_of
from ..storage.preparation import prepare
from ..storage.sqlite import connect
from .image import DatabaseImage
from .rows import RecoveredRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from .rows import RecoveredBatch, RecoveredEvent

_COMMIT_BYTES = 4 << 20
_SCRATCH = ".alignai-salvage-"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """
    What became of a damaged spool.

    Attributes:
        damaged: The damaged file, which is as it was.
        new: The new spool.
        project_id: The project that it belongs to.
        pending: Events in it that wait for a batch.
        in_flight: Events in it of batches that may have reached the server, under their request ids.
        rejected: Rejected events in it.
        left_out: Events that were sent or given up, and are not in it.
        unreadable: Events that were there, and cannot be read.
        unreadable_pages: Pages that may have held more of them.
    """

    damaged: str
    new: str
    project_id: str
    pending: int
    in_flight: int
    rejected: int
    left_out: int
    unreadable: int
    unreadable_pages: int

    @property
    def complete(self) -> bool:
        """Whether everything could be read."""
        return not self.unreadable and not self.unreadable_pages


def salvage(damaged: Path, new: Path, project_id: str | None = None) -> Salvaged:
    """
    Read what can be read out of *damaged*, which is only read and as it was afterwards, into the new spool *new*.

    Events whose checksum holds are taken, but for those of which the ledger, where it can be read, says that they were
    sent or given up. An event may so be sent twice, under the same event id, but not be lost.

    Args:
        damaged: The damaged file; its log is looked for beside it.
        new: The spool to make; it is there whole, or not at all.
        project_id: The project, where the file no longer says it; None to go by the file.

    Raises:
        SpoolVersionError: The file is of a newer version.
        SpoolCorruptError: There is nothing of a spool in it.
        SpoolError: A file cannot be read or made, *new* is there already, or *damaged* is being written to.
    """
    try:
        remove_stale_scratch(new, _SCRATCH)
        _check_not_existing(new)
        with fork.HeldOff(), ExitStack() as stack:
            file = stack.enter_context(_existing(damaged).open("rb"))
            log = stack.enter_context(wal_of(damaged).open("rb")) if wal_of(damaged).exists() else None
            before = _moment(damaged)
            image = DatabaseImage(file, log)
            check_version(image.version, damaged)
            findings = stack.enter_context(closing(RecoveredRows(image)))
            project_id = project_id or findings.project_id
            if not findings:
                raise SpoolCorruptError(f"spool {damaged}: nothing of a spool can be read in it - no spool was made")
            if not project_id:
                raise SpoolError(f"spool {damaged}: it no longer says whose it is - name the project by --project-id")
            with _made_whole(new) as draft:
                prepare(draft, project_id)
                with closing(SpoolWriter(draft)) as spool:
                    rejected = spool.write_rejected(findings)
                    pending, in_flight = spool.write_events(findings)
                if _moment(damaged) != before:
                    raise SpoolError(f"spool {damaged}: something is writing to it - end that, then try again")
            return Salvaged(
                str(damaged),
                str(new),
                project_id,
                pending,
                in_flight,
                rejected,
                left_out=findings.left_out,
                unreadable=findings.unreadable(),
                unreadable_pages=image.unreadable_pages,
            )
    except OSError as error:
        if not is_refusal(error):
            raise
        raise from_os_error(error, str(error.filename or damaged)) from error


class SpoolWriter:
    """The new spool while it is made: nobody else knows of it."""

    def __init__(self, path: Path) -> None:
        self._db = connect(path, synchronous="full")
        self._db.execute("BEGIN")
        self._seq = 0
        self._uncommitted = 0

    def write_rejected(self, findings: RecoveredRows) -> int:
        """The rejected events, before all others; how many there are."""
        for row in findings.rejected():
            self._seq += 1
            self._db.execute(sql.KEEP_REJECTED, (self._seq, *row))
            self._wrote(row[-1])
        if self._seq:
            self._db.execute(sql.APPEND_BLANK, (self._seq, time.time()))  # or their numbers would be used again
            self._db.execute(sql.SETTLED_AT_ONCE, (1, self._seq, self._seq, "rejected", time.time()))
            self._db.execute(sql.COUNT_REJECTED, (self._seq, None))
        return self._seq

    def write_events(self, findings: RecoveredRows) -> tuple[int, int]:
        """
        The events without an outcome, in order; how many are pending and how many in flight.

        Batches whose every event is there stay batches, under their request ids, but for those behind an event that is
        in none: what is behind it waits, too.
        """
        pending = in_flight = 0
        for batch, events in groupby(findings.events(), key=_batch_of(findings.open_batches())):
            first = self._seq + 1
            count = self._append(events)
            if batch and count == batch.last - batch.first + 1 and not pending:
                self._open(batch, first)
                in_flight += count
            else:
                pending += count
        return pending, in_flight

    def _append(self, events: Iterable[RecoveredEvent]) -> int:
        before = self._seq
        for event in events:
            self._seq = self._db.execute(sql.APPEND, (event.at, event.crc, event.payload)).lastrowid or 0
            self._wrote(event.payload)
        return self._seq - before

    def _open(self, batch: RecoveredBatch, first: int) -> None:
        count = self._seq - first + 1
        bounds = (first, self._seq, count, batch.request_id, batch.attempts, batch.faults, 0)
        self._db.execute(sql.OPEN_BATCH, bounds)

    def _wrote(self, payload: object) -> None:
        self._uncommitted += len(payload) if isinstance(payload, bytes) else 0
        if self._uncommitted > _COMMIT_BYTES:
            self._commit()
            self._db.execute("BEGIN")

    def _commit(self) -> None:
        self._db.execute("COMMIT")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # nobody is there whom it could race
        self._uncommitted = 0

    def close(self) -> None:
        """Move everything into the file; the log is gone then."""
        if self._db.in_transaction:
            self._commit()
        self._db.close()


def _batch_of(batches: list[RecoveredBatch]) -> Callable[[RecoveredEvent], RecoveredBatch | None]:
    firsts = [batch.first for batch in batches]

    def of(event: RecoveredEvent) -> RecoveredBatch | None:
        at = bisect_right(firsts, event.seq) - 1
        return batches[at] if at >= 0 and event.seq <= batches[at].last else None

    return of


@contextmanager
def _made_whole(path: Path) -> Iterator[Path]:
    """Where to make the file: in the end it gets its name, which must be free, all at once."""
    with scratch_folder(path, _SCRATCH) as folder:
        draft = folder / "spool.db"
        yield draft
        try:
            give_to_owner(draft, path.parent)
            os.link(draft, path)
            draft.unlink()  # a worker refuses a file with two names
        except FileExistsError:
            raise SpoolError(f"spool {path}: {_EXISTS}") from None
    sync_folder(path.parent)


_EXISTS = "it is there already, and salvage overwrites nothing - name another path"


def _check_not_existing(new: Path) -> None:
    for each in (new, wal_of(new), shm_of(new), journal_of(new)):
        if os.path.lexists(each):
            raise SpoolError(f"spool {each}: {_EXISTS}")


def _existing(damaged: Path) -> Path:
    if not damaged.is_file():
        raise SpoolError(f"spool {damaged}: there is no such file - name the one that was set aside")
    return damaged


def _moment(damaged: Path) -> list[tuple[int, int]]:
    """What changes when the file or its log is written to."""
    found = [each.stat() for each in (damaged, wal_of(damaged)) if each.exists()]
    return [(stat.st_size, stat.st_mtime_ns) for stat in found]
