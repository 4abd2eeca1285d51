"""Salvage: read everything that is legible in a corrupt spool into a new one."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import SpoolCorruptError, SpoolError, from_os_error
from ..interruption import is_refusal
from ..storage import fork
from ..storage.files import remove_stale_scratch, scratch_folder, sync_folder
from ..storage.format import check_version
from ..storage.ownership import give_to_owner
from ..storage.paths import journal_of, shm_of, wal_of
from ..storage.preparation import prepare
from .image import DatabaseImage
from .rows import RecoveredRows
from .writer import SpoolWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCRATCH = ".alignai-salvage-"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """
    The result of a salvage.

    Attributes:
        damaged: The corrupt file, which is unchanged.
        new: The new spool.
        project_id: The project that the new spool belongs to.
        pending: Pending events in the new spool.
        in_flight: Events in it whose batches may have reached the server. They keep their request ids.
        rejected: Rejected events in it.
        skipped: Events that were sent or dropped, and so are not in it.
        unreadable: Events that existed and cannot be read.
        unreadable_pages: Pages that may have held more of these.
    """

    damaged: str
    new: str
    project_id: str
    pending: int
    in_flight: int
    rejected: int
    skipped: int
    unreadable: int
    unreadable_pages: int

    @property
    def complete(self) -> bool:
        """Whether everything could be read."""
        return not self.unreadable and not self.unreadable_pages


def salvage(damaged: Path, new: Path, project_id: str | None = None) -> Salvaged:
    """
    Read everything that is legible in *damaged*, which is never changed, into the new spool *new*.

    An event is taken if its checksum matches, unless the ledger is legible and says that it was sent or dropped. So an
    event may be sent twice, under the same event id, but it is not lost.

    Args:
        damaged: The corrupt file. Its WAL is read from beside it.
        new: The spool to create. It is created whole or not at all.
        project_id: The project, if it can no longer be read from the file. None takes it from the file.

    Raises:
        SpoolVersionError: The file has a newer version.
        SpoolCorruptError: No row of a spool can be read.
        SpoolError: A file cannot be read or created, *new* exists, or another process writes to *damaged*.
    """
    try:
        remove_stale_scratch(new, _SCRATCH)
        _check_not_existing(new)
        with fork.HeldOff(), ExitStack() as stack:
            file = stack.enter_context(_existing(damaged).open("rb"))
            wal = stack.enter_context(wal_of(damaged).open("rb")) if wal_of(damaged).exists() else None
            signature = _file_signature(damaged)
            image = DatabaseImage(file, wal)
            check_version(image.version, damaged)
            rows = stack.enter_context(closing(RecoveredRows(image)))
            project_id = project_id or rows.project_id
            if not rows:
                raise SpoolCorruptError(
                    f"spool {damaged}: nothing of a spool can be read in it. No new spool was created."
                )
            if not project_id:
                raise SpoolError(f"spool {damaged}: its project cannot be read. Name the project with --project-id.")
            with _atomic_create(new) as draft:
                prepare(draft, project_id)
                with closing(SpoolWriter(draft)) as spool:
                    rejected = spool.write_rejected(rows)
                    pending, in_flight = spool.write_events(rows)
                if _file_signature(damaged) != signature:
                    raise SpoolError(f"spool {damaged}: something is writing to it. End that process, then try again.")
            return Salvaged(
                str(damaged),
                str(new),
                project_id,
                pending,
                in_flight,
                rejected,
                skipped=rows.skipped,
                unreadable=rows.unreadable(),
                unreadable_pages=image.unreadable_pages,
            )
    except OSError as error:
        if not is_refusal(error):
            raise
        raise from_os_error(error, str(error.filename or damaged)) from error


@contextmanager
def _atomic_create(path: Path) -> Iterator[Path]:
    """Yield the path of a draft. At the end it is renamed to *path*, unless that exists."""
    with scratch_folder(path, _SCRATCH) as folder:
        draft = folder / "spool.db"
        yield draft
        try:
            give_to_owner(draft, path.parent)
            os.link(draft, path)
            draft.unlink()  # a spool with two names would be refused
        except FileExistsError:
            raise SpoolError(f"spool {path}: {_EXISTS}") from None
    sync_folder(path.parent)


_EXISTS = "it exists, and salvage overwrites nothing. Name another path."


def _check_not_existing(new: Path) -> None:
    for each in (new, wal_of(new), shm_of(new), journal_of(new)):
        if os.path.lexists(each):
            raise SpoolError(f"spool {each}: {_EXISTS}")


def _existing(damaged: Path) -> Path:
    if not damaged.is_file():
        raise SpoolError(f"spool {damaged}: there is no such file. Name the file that was quarantined.")
    return damaged


def _file_signature(damaged: Path) -> list[tuple[int, int]]:
    """Return the sizes and times that change when the file or its WAL is written to."""
    stats = [each.stat() for each in (damaged, wal_of(damaged)) if each.exists()]
    return [(stat.st_size, stat.st_mtime_ns) for stat in stats]
