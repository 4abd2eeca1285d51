"""A spool's file and its log as they lie on the disk: every state of each page that both of them hold."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from ..storage.limits import PAGE_SIZE, PAGE_SIZES, PENDING_BYTE
from ..storage.wal.parser import committed_frames, page_size_of
from .btree import DATABASE_HEADER_SIZE, Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from .btree import Cell

_MAGIC = b"SQLite format 3\0"
_MAP_ENTRY = 5
_FREE = b"\x02\0\0\0\0"
_OVERFLOWS = (b"\x03", b"\x04")
_RESERVED = (0, 12)
"""Bytes that builds of SQLite keep for themselves at the end of each page."""
_SAMPLE = 500


class DatabaseImage:
    """
    The states of the pages, each at a *place*: an offset in the file, or less than 0, one in the log.

    Args:
        file: The file.
        log: Its write-ahead log, where there is one.
    """

    def __init__(self, file: BinaryIO, log: BinaryIO | None) -> None:
        self._file = file.fileno()
        self._log = log.fileno() if log else -1
        self._head = os.pread(self._file, DATABASE_HEADER_SIZE, 0).ljust(DATABASE_HEADER_SIZE, b"\0")
        self.sizes = (os.fstat(self._file).st_size, os.fstat(self._log).st_size if log else 0)
        self._in_log: dict[int, list[int]] = defaultdict(list)
        self._page_size, self._reserved = self._find_page_size()
        self._log_page_size = page_size_of(self._log, self._page_size) if log else self._page_size
        self._in_file = -(-self.sizes[0] // self._page_size)
        self._promised = self._promised_by_file()
        if log:
            self._read_wal()
        self._newest_in_log = {places[-1] for places in self._in_log.values()}
        if not self.sizes[0]:
            self._page_size, self._reserved = self._log_page_size, self._find_reserved()
        self._map_step = (self._page_size - self._reserved) // _MAP_ENTRY + 1
        self._lock_page = PENDING_BYTE // self._page_size + 1
        self.page = lru_cache(64)(self._page)
        self.cells = lru_cache(64)(self._cells)
        self._entries = lru_cache(8)(self._read_entries)

    @property
    def version(self) -> int:
        """The format that the file says it has, where it is a database at all."""
        return int.from_bytes(self._head[60:64]) if self._head.startswith(_MAGIC) else 0

    # -- states of pages -----------------------------------------------------------------------------------------------

    def places(self) -> Iterator[int]:
        """Every state of a page that is or was in use, the log's in the order in which they were written."""
        for number in range(1, self._in_file + 1):
            if not self._is_free(number):
                yield (number - 1) * self._page_size
        yield from sorted((place for places in self._in_log.values() for place in places), reverse=True)

    def is_newest(self, place: int) -> bool:
        """Whether no later state of the same page is there."""
        if place < 0:
            return place in self._newest_in_log
        return place // self._page_size + 1 not in self._in_log

    def _page(self, place: int) -> Page:
        if place < 0:
            return self._read_page(self._log, -place, self._log_page_size, self._reserved)
        return self._read_page(self._file, place, self._page_size, self._reserved)

    def _read_page(self, source: int, at: int, size: int, reserved: int) -> Page:
        data = os.pread(source, size, at).ljust(size, b"\0")  # a file cut short ends within a page
        first = at == 0 or -at in self._in_log.get(1, ())
        return Page(data, DATABASE_HEADER_SIZE if first else 0, size - reserved)

    def _find_page_size(self) -> tuple[int, int]:
        """
        Find the size of the file's pages, and how many bytes of each SQLite leaves alone.

        The head says so, but pages show it: they add up with one size only. What the head says comes first, in case
        that no page tells.
        """
        said = int.from_bytes(self._head[16:18])
        said = 65536 if said == 1 else said
        first = said if said in PAGE_SIZES else PAGE_SIZE
        sizes = [(size, reserved) for size in (first, *PAGE_SIZES) for reserved in _RESERVED]
        return max(sizes, key=lambda each: self._sound_pages(self._file, range(0, self.sizes[0], each[0]), *each))

    def _find_reserved(self) -> int:
        """As `_find_page_size`, if there is nothing but a log."""
        places = [-place for in_log in self._in_log.values() for place in in_log]
        return max(_RESERVED, key=lambda each: self._sound_pages(self._log, places, self._log_page_size, each))

    def _sound_pages(self, source: int, offsets: Sequence[int], size: int, reserved: int) -> int:
        """How many of a sample of pages add up."""
        some = offsets[:: len(offsets) // _SAMPLE + 1]
        return sum(self._read_page(source, at, size, reserved).is_sound() for at in some)

    def _cells(self, place: int) -> list[Cell]:
        return self.page(place).cells()

    def records(self, cell: Cell) -> Iterator[bytes]:
        """The whole record of a cell, as its other pages are now, then as they were when the log was begun."""
        if not cell.rest:
            yield cell.local
            return
        for newest in (True, False):
            record = self._record(cell, newest=newest)
            if record is not None:
                yield record

    def _record(self, cell: Cell, *, newest: bool) -> bytes | None:
        parts, missing, number = [cell.local], cell.size - len(cell.local), cell.rest
        seen: set[int] = set()
        while missing > 0:
            place = self._place(number, newest=newest)
            if place is None or number in seen:
                return None
            seen.add(number)
            page = self.page(place)
            number, part = int.from_bytes(page.data[:4]), page.data[4 : min(page.usable, 4 + missing)]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _place(self, number: int, *, newest: bool) -> int | None:
        in_log, in_file = self._in_log.get(number), 0 < number <= self._in_file
        if in_log and (newest or not in_file):
            return in_log[-1]
        return (number - 1) * self._page_size if in_file else None

    def _promised_by_file(self) -> int:
        """How many pages there should be, where the head says so."""
        return (self._head.startswith(_MAGIC) and int.from_bytes(self._head[28:32])) or self._in_file

    # -- the log -------------------------------------------------------------------------------------------------------

    def _read_wal(self) -> None:
        for frame in committed_frames(self._log, self._log_page_size):
            self._in_log[frame.number].append(-frame.offset)
            self._promised = frame.pages or self._promised

    # -- the map: in a file that can be made smaller, each page is entered somewhere with what it is for ---------------

    def _entered_in(self, number: int) -> int:
        return (number - 2) // self._map_step * self._map_step + 2

    def _read_entries(self, number: int) -> list[bytes]:
        """The states of a page of the map, the newest last."""
        in_file = [(number - 1) * self._page_size] if number <= self._in_file else []
        return [self._page(place).data for place in [*in_file, *self._in_log.get(number, [])]]

    def _entry(self, number: int) -> list[bytes]:
        """What the states of the map say of a page."""
        map_page = self._entered_in(number)
        at = _MAP_ENTRY * (number - map_page - 1)
        return [page[at : at + _MAP_ENTRY] for page in self._entries(map_page)]

    def _is_free(self, number: int) -> bool:
        """Whether the page holds nothing but what has been deleted, by every state of the map."""
        if number == 1 or number == self._entered_in(number):
            return False
        entry = self._entry(number)
        return bool(entry) and set(entry) == {_FREE}

    @cached_property
    def unreadable_pages(self) -> int:
        """How many pages may have held rows, and cannot be told from garbage, or are missing or there twice."""
        in_log = sum(map(len, self._in_log.values()))
        there = max(number for number in [self._in_file, *self._in_log] if number <= self._in_file + in_log)
        present = range(1, min(there, self._promised) + 1)
        leaves: set[int] = set()
        damaged = sum(self._may_have_held_rows(number) or self._is_copy(number, leaves) for number in present)
        return damaged + max(0, self._promised - there)

    def _is_copy(self, number: int, leaves: set[int]) -> bool:
        """Whether a page like this has been among the *leaves*: something else was where one of them is now."""
        place = self._place(number, newest=True)
        if place is None or not self.cells(place):
            return False
        checksum = zlib.crc32(self.page(place).data)
        known = checksum in leaves
        leaves.add(checksum)
        return known

    def _may_have_held_rows(self, number: int) -> bool:
        if number == self._lock_page or (number > 1 and number == self._entered_in(number)):
            return False
        place = self._place(number, newest=True)
        if place is not None and self.page(place).is_sound():
            return False
        if number == 1:
            return True
        (*_, entry) = [b"", *self._entry(number)]
        return entry != _FREE and entry[:1] not in _OVERFLOWS
