"""The database image on disk: every version of each page, in the file and in the WAL."""

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
"""Bytes at the end of each page that some builds of SQLite reserve."""
_SAMPLE = 500


class DatabaseImage:
    """
    The versions of the pages. Each has an *offset*: in the file, or in the WAL if it is negative.

    Args:
        file: The file.
        wal: Its WAL, or None if there is none.
    """

    def __init__(self, file: BinaryIO, wal: BinaryIO | None) -> None:
        self._file = file.fileno()
        self._wal = wal.fileno() if wal else -1
        self._header = os.pread(self._file, DATABASE_HEADER_SIZE, 0).ljust(DATABASE_HEADER_SIZE, b"\0")
        self.sizes = (os.fstat(self._file).st_size, os.fstat(self._wal).st_size if wal else 0)
        self._in_wal: dict[int, list[int]] = defaultdict(list)
        self._page_size, self._reserved = self._find_page_size()
        self._wal_page_size = page_size_of(self._wal, self._page_size) if wal else self._page_size
        self._in_file = -(-self.sizes[0] // self._page_size)
        self._page_count = self._header_page_count()
        if wal:
            self._read_wal()
        self._newest_in_wal = {offsets[-1] for offsets in self._in_wal.values()}
        if not self.sizes[0]:
            self._page_size, self._reserved = self._wal_page_size, self._find_reserved()
        self._map_step = (self._page_size - self._reserved) // _MAP_ENTRY + 1
        self._lock_byte_page = PENDING_BYTE // self._page_size + 1
        self.page = lru_cache(64)(self._page)
        self.cells = lru_cache(64)(self._cells)
        self._entries = lru_cache(8)(self._read_entries)

    @property
    def version(self) -> int:
        """The version of the format by the header of the file, or 0 if it is not a database."""
        return int.from_bytes(self._header[60:64]) if self._header.startswith(_MAGIC) else 0

    # -- versions of pages ---------------------------------------------------------------------------------------------

    def page_versions(self) -> Iterator[int]:
        """Yield every version of a page that is or was in use. Those of the WAL come in the order of writing."""
        for number in range(1, self._in_file + 1):
            if not self._is_free(number):
                yield (number - 1) * self._page_size
        yield from sorted((offset for offsets in self._in_wal.values() for offset in offsets), reverse=True)

    def is_newest(self, offset: int) -> bool:
        """Return whether there is no later version of the same page."""
        if offset < 0:
            return offset in self._newest_in_wal
        return offset // self._page_size + 1 not in self._in_wal

    def _page(self, offset: int) -> Page:
        if offset < 0:
            return self._read_page(self._wal, -offset, self._wal_page_size, self._reserved)
        return self._read_page(self._file, offset, self._page_size, self._reserved)

    def _read_page(self, source: int, at: int, size: int, reserved: int) -> Page:
        data = os.pread(source, size, at).ljust(size, b"\0")  # a file cut short ends within a page
        first = at == 0 or -at in self._in_wal.get(1, ())
        return Page(data, DATABASE_HEADER_SIZE if first else 0, size - reserved)

    def _find_page_size(self) -> tuple[int, int]:
        """
        Find the size of the file's pages, and how many bytes of each SQLite leaves alone.

        The header may be damaged, but pages add up with the right size only. The size in the header is tried first, in
        case that no page adds up with any.
        """
        stated = int.from_bytes(self._header[16:18])
        stated = 65536 if stated == 1 else stated
        first = stated if stated in PAGE_SIZES else PAGE_SIZE
        sizes = [(size, reserved) for size in (first, *PAGE_SIZES) for reserved in _RESERVED]
        return max(sizes, key=lambda each: self._sound_pages(self._file, range(0, self.sizes[0], each[0]), *each))

    def _find_reserved(self) -> int:
        """Find the reserved bytes as `_find_page_size` does, if there is only a WAL."""
        offsets = [-offset for in_wal in self._in_wal.values() for offset in in_wal]
        return max(_RESERVED, key=lambda each: self._sound_pages(self._wal, offsets, self._wal_page_size, each))

    def _sound_pages(self, source: int, offsets: Sequence[int], size: int, reserved: int) -> int:
        """Return how many of a sample of pages add up."""
        sample = offsets[:: len(offsets) // _SAMPLE + 1]
        return sum(self._read_page(source, at, size, reserved).is_sound() for at in sample)

    def _cells(self, offset: int) -> list[Cell]:
        return self.page(offset).cells()

    def records(self, cell: Cell) -> Iterator[bytes]:
        """Yield the whole record of a cell: with its newest overflow pages, then with those of the file."""
        if not cell.overflow_page:
            yield cell.local
            return
        for newest in (True, False):
            record = self._record(cell, newest=newest)
            if record is not None:
                yield record

    def _record(self, cell: Cell, *, newest: bool) -> bytes | None:
        parts, missing, number = [cell.local], cell.size - len(cell.local), cell.overflow_page
        seen: set[int] = set()
        while missing > 0:
            offset = self._offset(number, newest=newest)
            if offset is None or number in seen:
                return None
            seen.add(number)
            page = self.page(offset)
            number, part = int.from_bytes(page.data[:4]), page.data[4 : min(page.usable, 4 + missing)]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _offset(self, number: int, *, newest: bool) -> int | None:
        in_wal, in_file = self._in_wal.get(number), 0 < number <= self._in_file
        if in_wal and (newest or not in_file):
            return in_wal[-1]
        return (number - 1) * self._page_size if in_file else None

    def _header_page_count(self) -> int:
        """Return how many pages there should be: by the header if it is legible, else by the size of the file."""
        return (self._header.startswith(_MAGIC) and int.from_bytes(self._header[28:32])) or self._in_file

    # -- the WAL -------------------------------------------------------------------------------------------------------

    def _read_wal(self) -> None:
        for frame in committed_frames(self._wal, self._wal_page_size):
            self._in_wal[frame.number].append(-frame.offset)
            self._page_count = frame.pages or self._page_count

    # -- the pointer map: in a file with auto_vacuum it says of each page what the page is used for --------------------

    def _map_page_of(self, number: int) -> int:
        return (number - 2) // self._map_step * self._map_step + 2

    def _read_entries(self, number: int) -> list[bytes]:
        """Return the versions of a page of the pointer map, the newest last."""
        in_file = [(number - 1) * self._page_size] if number <= self._in_file else []
        return [self._page(offset).data for offset in [*in_file, *self._in_wal.get(number, [])]]

    def _entry(self, number: int) -> list[bytes]:
        """Return the entries for a page in all versions of the pointer map, the newest last."""
        map_page = self._map_page_of(number)
        at = _MAP_ENTRY * (number - map_page - 1)
        return [page[at : at + _MAP_ENTRY] for page in self._entries(map_page)]

    def _is_free(self, number: int) -> bool:
        """Return whether the page is free in every version of the pointer map, so that its rows were deleted."""
        if number == 1 or number == self._map_page_of(number):
            return False
        entry = self._entry(number)
        return bool(entry) and set(entry) == {_FREE}

    @cached_property
    def unreadable_pages(self) -> int:
        """How many pages may have held rows and cannot be read, are missing, or are a copy of another page."""
        in_wal = sum(map(len, self._in_wal.values()))
        last = max(number for number in [self._in_file, *self._in_wal] if number <= self._in_file + in_wal)
        present = range(1, min(last, self._page_count) + 1)
        leaves: set[int] = set()
        damaged = sum(self._may_have_held_rows(number) or self._is_copy(number, leaves) for number in present)
        return damaged + max(0, self._page_count - last)

    def _is_copy(self, number: int, leaves: set[int]) -> bool:
        """Return whether an equal page is in *leaves*. Then one of the two has replaced another page."""
        offset = self._offset(number, newest=True)
        if offset is None or not self.cells(offset):
            return False
        checksum = zlib.crc32(self.page(offset).data)
        known = checksum in leaves
        leaves.add(checksum)
        return known

    def _may_have_held_rows(self, number: int) -> bool:
        if number == self._lock_byte_page or (number > 1 and number == self._map_page_of(number)):
            return False
        offset = self._offset(number, newest=True)
        if offset is not None and self.page(offset).is_sound():
            return False
        if number == 1:
            return True
        (*_, entry) = [b"", *self._entry(number)]
        return entry != _FREE and entry[:1] not in _OVERFLOWS
