"""
Rows recovered from a corrupt spool.

A row of a spool is written once, an event carries its checksum, and a settled batch stays settled. So a row found on
any page is valid, even if the page is stale or cannot be reached from the root of the b-tree.
"""

from __future__ import annotations

import math
import sqlite3
import time
import zlib
from typing import TYPE_CHECKING, NamedTuple

from ..ledger.queries import is_request_id
from ..ledger.sql import STATES
from ..ledger.transitions import DAMAGED
from . import sql
from .btree import values
from .ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .btree import Cell, Value
    from .image import DatabaseImage

_MAX_ROWID = 1 << 62
_MESSAGE_LOST = "the server rejected it; its message could not be read from the corrupt spool"


class RecoveredEvent(NamedTuple):
    """An event, as it was appended."""

    seq: int
    crc: int
    at: float
    trusted: bool
    payload: bytes


class RecoveredBatch(NamedTuple):
    """An open batch: its outcome is not known."""

    first: int
    last: int
    request_id: str
    attempts: int
    faults: int


class RecoveredRows:
    """
    The rows found in *image*. A temporary database holds where they are.

    Attributes:
        project_id: The project that the spool belongs to, or None if that cannot be read.
        skipped: Events passed over by `events` because they have been settled.
    """

    def __init__(self, image: DatabaseImage) -> None:
        self.project_id: str | None = None
        self.skipped = 0
        self._image = image
        self._spools: dict[tuple[Value, Value], set[bool]] = {}
        self._any = False
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(sql.SCRATCH)
        self._db.execute("BEGIN")
        for offset in image.page_versions():
            for cell in image.cells(offset):
                self._note_cell(offset, cell)
        if not self._wal_matches_file():
            self._db.execute(sql.DELETE_LEDGER)
        self.settled = Ranges(self._db.execute(sql.FOUND_SETTLED))
        self._conclude()

    def _wal_matches_file(self) -> bool:
        """
        Return whether the file and the WAL are of one spool. If they are not, the ledger cannot be used.

        A WAL continues its file, so it repeats some row or batch of it. If it repeats none, it is taken for the WAL of
        another spool. Sent events may then be sent again. If the ledger were trusted, events could be lost.
        """
        if len(self._spools) > 1:
            return False
        same_summary = any(len(sources) > 1 for sources in self._spools.values())
        return same_summary or bool(self._db.execute(sql.WAL_MATCHES_FILE).fetchone()[0])

    def _conclude(self) -> None:
        interruptions: list[BaseException] = []

        def gap_is_settled(first: int | None, last: int | None) -> bool:
            try:
                return self._gap_is_settled(first, last)
            except BaseException as error:
                interruptions.append(error)
                raise

        self._db.create_function("gap_is_settled", 2, gap_is_settled)
        try:
            for believe in (sql.TRUST_FOUND, sql.TRUST_DAMAGED, sql.DELETE_MISNUMBERED):
                self._db.execute(believe)
        except sqlite3.Error:  # raised by SQLite for any exception of a function
            if interruptions:
                raise interruptions[0] from None
            raise
        if self._image.unreadable_pages or self._db.execute(sql.FOUND_DAMAGED).fetchone():
            self._db.execute(sql.ADD_FOUND_REJECTED)
        for conclude in (sql.DELETE_REJECTED, sql.DISTRUST_CONFLICTING, sql.DELETE_SUPERSEDED):
            self._db.execute(conclude)

    def _gap_is_settled(self, first: int | None, last: int | None) -> bool:
        """Return whether every row missing between two rows of a page is settled, and so may have been deleted."""
        if first is None or last is None or first >= last:
            return False
        return self.settled.count(first + 1, last - 1) == last - first - 1

    def __bool__(self) -> bool:
        """Return whether any row of a spool was found."""
        return self._any

    def close(self) -> None:
        """Delete the temporary database."""
        self._db.close()

    # -- results -------------------------------------------------------------------------------------------------------

    def events(self) -> Iterator[RecoveredEvent]:
        """Yield the events that have no outcome, in order."""
        for seq, crc, at, trusted, offset, slot in self._db.execute(sql.FOUND):
            if trusted and seq in self.settled:
                self.skipped += 1
            else:
                _, payload = self._read(offset, slot, crc)
                yield RecoveredEvent(seq, crc, at, bool(trusted), payload)

    def open_batches(self) -> list[RecoveredBatch]:
        """Return the batches whose outcome is not known, in order."""
        return [RecoveredBatch(*row) for row in self._db.execute(sql.FOUND_OPEN)]

    def rejected(self) -> Iterator[tuple[Value, ...]]:
        """Yield the rejected rows without their numbers, in order."""
        for _, crc, offset, slot in self._db.execute(sql.FOUND_REJECTED):
            (_, at, *words, _, _), payload = self._read(offset, slot, crc)
            yield (at, *(words or (time.time(), "", _MESSAGE_LOST)), crc, payload)

    def unreadable(self) -> int:
        """Return how many unsettled events are known to have existed and cannot be read."""
        damaged: list[tuple[int, int]] = self._db.execute(sql.FOUND_DAMAGED).fetchall()
        numbers = [seq for seq, trusted in damaged if trusted and seq not in self.settled]
        found, low, high = self._found()
        opens = self.open_batches()
        through = max([self.settled.last, *(batch.last for batch in opens)])
        low = min([low, through + 1, *numbers, *(batch.first for batch in opens)] if through else [low, *numbers])
        high = max([high, through, *numbers])
        kept = self._db.execute(sql.REJECTED_NUMBERS, (low, high))
        found += sum(1 for (seq,) in kept if seq not in self.settled)
        missing = max(0, high - low + 1) - self.settled.count(low, high) - found
        (lost_rejected,) = self._db.execute(sql.LOST_REJECTED).fetchone()
        return max(0, missing) + int(lost_rejected) + sum(1 for _, trusted in damaged if not trusted)

    def _found(self) -> tuple[int, int, int]:
        """Return how many trusted, unsettled row numbers there are, the lowest and the highest."""
        count, low, high = 0, _MAX_ROWID, 0
        for (seq,) in self._db.execute(sql.TRUSTED_NUMBERS):
            if seq not in self.settled:
                count, low, high = count + 1, min(low, seq), max(high, seq)
        return count, low, high

    def _read(self, offset: int, slot: int, crc: int) -> tuple[tuple[Value, ...], bytes]:
        """Read a row again that was found at *offset*, and return it with its payload."""
        cell = next(each for each in self._image.cells(offset) if each.slot == slot)
        rows = [row for record in self._image.records(cell) if (row := values(record))]
        found = [(row, row[-1]) for row in rows if isinstance(row[-1], bytes)]
        return next((each for each in found if zlib.crc32(each[1]) == crc), found[0])

    # -- finding -------------------------------------------------------------------------------------------------------

    def _note_cell(self, offset: int, cell: Cell) -> None:
        if not 0 < cell.rowid < _MAX_ROWID:
            cell = cell._replace(rowid=0, previous_rowid=0, next_rowid=0)
        if any(self._note_row(offset, cell, values(record)) for record in self._image.records(cell)):
            self._any = True
        elif self._image.is_newest(offset):
            self._db.execute(sql.ADD_DAMAGED, (cell.rowid, *_neighbours(cell)))

    def _note_row(self, offset: int, cell: Cell, row: tuple[Value, ...] | None) -> bool:
        """Note where *row* is. Return whether it is a row of a spool and shows no damage."""
        match row:
            case (None, int() | float() as at, int() as crc, bytes() as payload):
                return self._note_event(offset, cell, (at, crc, payload))
            case (None, int() | float(), int() | float(), str(), str() as reason, int() as crc, bytes() as payload):
                if zlib.crc32(payload) != crc and reason != DAMAGED:
                    return False
                self._db.execute(sql.ADD_REJECTED, (cell.rowid, crc, len(payload), offset, cell.slot))
            case (None, int(), int(), str(), str(), int(), int(), int(), int(), int() | float() | None):
                self._note_batch(offset, cell.rowid, row)
            case (str() as project_id, int() | float() as made_at, int(), int(), int(), int(), _, _, _, _, _):
                self.project_id = project_id
                self._spools.setdefault((project_id, made_at), set()).add(offset < 0)
            case (str(), str(), str(), int(), str() | None):
                pass  # a row of the schema
            case _:
                return False
        return True

    def _note_event(self, offset: int, cell: Cell, event: tuple[float, int, bytes]) -> bool:
        at, crc, payload = event
        if zlib.crc32(payload) != crc:
            return False
        if payload:  # an empty one is the newest row, blanked when it was settled
            at = at if math.isfinite(at) else time.time()
            row = (cell.rowid, crc, len(payload), at, *_neighbours(cell), offset, cell.slot)
            self._db.execute(sql.ADD_EVENT, row)
        return True

    def _note_batch(self, offset: int, first: int, row: tuple[Value, ...]) -> None:
        """Note a row of the ledger. The ledger has no checksum, so an inconsistent row is ignored."""
        _, last, events, request_id, state, attempts, faults, *_ = row
        has_request_id = request_id == "" or is_request_id(request_id)  # type: ignore[arg-type]
        if state in STATES and last - first + 1 == events and has_request_id:  # type: ignore[operator]
            self._db.execute(sql.ADD_BATCH, (first, last, request_id, state, attempts, faults, offset < 0))
            if state == "pruned" and first > 1:  # every batch before it was pruned too, and deleted
                self._db.execute(sql.ADD_BATCH, (1, first - 1, "", state, 0, 0, offset < 0))


def _neighbours(cell: Cell) -> list[int | None]:
    return [None if rowid is None else min(rowid, _MAX_ROWID) for rowid in (cell.previous_rowid, cell.next_rowid)]
