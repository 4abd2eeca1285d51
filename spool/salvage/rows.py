"""
What a damaged spool still says, wherever in it that is.

A row of a spool is written once, an event carries its checksum, and what has been settled stays settled. So every page
tells the truth, however old its state is and whatever has become of the tree above it.
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

_MAX_NUMBER = 1 << 62
_WORDS_LOST = "the server refused it; what it said could not be read out of the damaged spool"


class RecoveredEvent(NamedTuple):
    """An event, as it was appended."""

    seq: int
    crc: int
    at: float
    believed: bool
    payload: bytes


class RecoveredBatch(NamedTuple):
    """A batch whose outcome is not known."""

    first: int
    last: int
    request_id: str
    attempts: int
    faults: int


class RecoveredRows:
    """
    What is found in *image*: where it is, in a scratch database of SQLite's own, which nobody else can see.

    Attributes:
        project_id: The project that the spool belongs to, where it says so.
        left_out: Events passed over by `events` because they have been settled.
    """

    def __init__(self, image: DatabaseImage) -> None:
        self.project_id: str | None = None
        self.left_out = 0
        self._image = image
        self._spools: dict[tuple[Value, Value], set[bool]] = {}
        self._any = False
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(sql.SCRATCH)
        self._db.execute("BEGIN")
        for place in image.places():
            for cell in image.cells(place):
                self._take(place, cell)
        if not self._is_one_spool():
            self._db.execute(sql.FORGET_LEDGER)
        self.settled = Ranges(self._db.execute(sql.FOUND_SETTLED))
        self._conclude()

    def _is_one_spool(self) -> bool:
        """
        Whether file and log belong together; where they do not, nobody knows whose the ledger is.

        A log goes on where its file ends, and so repeats something of it: where it does not, it is taken for another
        spool's. What has been sent may then be sent again; in a ledger that is believed, events could be lost.
        """
        if len(self._spools) > 1:
            return False
        says_so = any(len(sources) > 1 for sources in self._spools.values())
        return says_so or not self._db.execute(sql.STRANGERS).fetchone()[0]

    def _conclude(self) -> None:
        interruptions: list[BaseException] = []

        def explained(first: int | None, last: int | None) -> bool:
            try:
                return self._explained(first, last)
            except BaseException as error:
                interruptions.append(error)
                raise

        self._db.create_function("explained", 2, explained)
        try:
            for believe in (sql.BELIEVE_FOUND, sql.BELIEVE_DAMAGED, sql.FORGET_MISNUMBERED):
                self._db.execute(believe)
        except sqlite3.Error:  # which SQLite raises for whatever a function has raised
            if interruptions:
                raise interruptions[0] from None
            raise
        if self._image.unreadable_pages or self._db.execute(sql.FOUND_DAMAGED).fetchone():
            self._db.execute(sql.FIND_REFUSED_BEFORE)
        for conclude in (sql.FORGET_REFUSED, sql.DOUBT_DISPUTED, sql.FORGET_PAST):
            self._db.execute(conclude)

    def _explained(self, first: int | None, last: int | None) -> bool:
        """Whether nothing is missing between two rows of a page but what has been settled, and so deleted."""
        if first is None or last is None or first >= last:
            return False
        return self.settled.count(first + 1, last - 1) == last - first - 1

    def __bool__(self) -> bool:
        """Whether there is anything of a spool in it."""
        return self._any

    def close(self) -> None:
        """Forget all."""
        self._db.close()

    # -- what is there -------------------------------------------------------------------------------------------------

    def events(self) -> Iterator[RecoveredEvent]:
        """The events that have no outcome, in order."""
        for seq, crc, at, believed, place, slot in self._db.execute(sql.FOUND):
            if believed and seq in self.settled:
                self.left_out += 1
            else:
                _, payload = self._sound(place, slot, crc)
                yield RecoveredEvent(seq, crc, at, bool(believed), payload)

    def open_batches(self) -> list[RecoveredBatch]:
        """The batches whose outcome is not known, in order."""
        return [RecoveredBatch(*row) for row in self._db.execute(sql.FOUND_OPEN)]

    def rejected(self) -> Iterator[tuple[Value, ...]]:
        """The rejected rows but for their numbers, in order."""
        for _, crc, place, slot in self._db.execute(sql.FOUND_REFUSED):
            (_, at, *words, _, _), payload = self._sound(place, slot, crc)
            yield (at, *(words or (time.time(), "", _WORDS_LOST)), crc, payload)

    def unreadable(self) -> int:
        """How many events are known to have been there unsettled, and are not to be read."""
        damaged: list[tuple[int, int]] = self._db.execute(sql.FOUND_DAMAGED).fetchall()
        numbers = [seq for seq, believed in damaged if believed and seq not in self.settled]
        found, low, high = self._found()
        opens = self.open_batches()
        through = max([self.settled.last, *(batch.last for batch in opens)])
        low = min([low, through + 1, *numbers, *(batch.first for batch in opens)] if through else [low, *numbers])
        high = max([high, through, *numbers])
        kept = self._db.execute(sql.FOUND_REFUSED_NUMBERS, (low, high))
        found += sum(1 for (seq,) in kept if seq not in self.settled)
        missing = max(0, high - low + 1) - self.settled.count(low, high) - found
        (refused,) = self._db.execute(sql.LOST_REFUSED).fetchone()
        return max(0, missing) + int(refused) + sum(1 for _, believed in damaged if not believed)

    def _found(self) -> tuple[int, int, int]:
        """How many numbers without an outcome there are, the lowest and the highest."""
        count, low, high = 0, _MAX_NUMBER, 0
        for (seq,) in self._db.execute(sql.FOUND_NUMBERS):
            if seq not in self.settled:
                count, low, high = count + 1, min(low, seq), max(high, seq)
        return count, low, high

    def _sound(self, place: int, slot: int, crc: int) -> tuple[tuple[Value, ...], bytes]:
        """The row again that was found there, and its payload."""
        cell = next(each for each in self._image.cells(place) if each.slot == slot)
        rows = [row for record in self._image.records(cell) if (row := values(record))]
        found = [(row, row[-1]) for row in rows if isinstance(row[-1], bytes)]
        return next((each for each in found if zlib.crc32(each[1]) == crc), found[0])

    # -- finding -------------------------------------------------------------------------------------------------------

    def _take(self, place: int, cell: Cell) -> None:
        if not 0 < cell.number < _MAX_NUMBER:
            cell = cell._replace(number=0, before=0, behind=0)
        if any(self._understands(place, cell, values(record)) for record in self._image.records(cell)):
            self._any = True
        elif self._image.is_newest(place):
            self._db.execute(sql.FIND_DAMAGED, (cell.number, *_neighbours(cell)))

    def _understands(self, place: int, cell: Cell, row: tuple[Value, ...] | None) -> bool:
        """Whether *row* is one of a spool's, unharmed as far as can be seen; it is known where, then."""
        match row:
            case (None, int() | float() as at, int() as crc, bytes() as payload):
                return self._finds_event(place, cell, (at, crc, payload))
            case (None, int() | float(), int() | float(), str(), str() as reason, int() as crc, bytes() as payload):
                if zlib.crc32(payload) != crc and reason != DAMAGED:
                    return False
                self._db.execute(sql.FIND_REFUSED, (cell.number, crc, len(payload), place, cell.slot))
            case (None, int(), int(), str(), str(), int(), int(), int(), int(), int() | float() | None):
                self._find_batch(place, cell.number, row)
            case (str() as project_id, int() | float() as made_at, int(), int(), int(), int(), _, _, _, _, _):
                self.project_id = project_id
                self._spools.setdefault((project_id, made_at), set()).add(place < 0)
            case (str(), str(), str(), int(), str() | None):
                pass  # the schema's
            case _:
                return False
        return True

    def _finds_event(self, place: int, cell: Cell, event: tuple[float, int, bytes]) -> bool:
        at, crc, payload = event
        if zlib.crc32(payload) != crc:
            return False
        if payload:  # or it is what is left of the newest row, once that is settled
            at = at if math.isfinite(at) else time.time()
            row = (cell.number, crc, len(payload), at, *_neighbours(cell), place, cell.slot)
            self._db.execute(sql.FIND_EVENT, row)
        return True

    def _find_batch(self, place: int, first: int, row: tuple[Value, ...]) -> None:
        """The ledger has no checksum: what does not add up is as if it were not there."""
        _, last, events, request_id, state, attempts, faults, *_ = row
        has_request_id = request_id == "" or is_request_id(request_id)  # type: ignore[arg-type]
        if state in STATES and last - first + 1 == events and has_request_id:  # type: ignore[operator]
            self._db.execute(sql.FIND_BATCH, (first, last, request_id, state, attempts, faults, place < 0))


def _neighbours(cell: Cell) -> list[int | None]:
    return [None if number is None else min(number, _MAX_NUMBER) for number in (cell.before, cell.behind)]
