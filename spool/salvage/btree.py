"""
Pages, cells and records of SQLite's b-trees, read without SQLite.

SQLite reads only the pages that it reaches from the root of a b-tree. Salvage needs all of them. The format is
described at https://sqlite.org/fileformat2.html, and the names here are from there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..interruption import is_interruption

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE_HEADER_SIZE = 100
INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13

_HEADER_SIZES = {INDEX_INTERIOR: 12, TABLE_INTERIOR: 12, INDEX_LEAF: 8, TABLE_LEAF: 8}
_SMALLEST_CELL = 4
_INTEGER_SIZES = (0, 1, 2, 3, 4, 6, 8)
_REAL, _ZERO, _ONE, _BLOB = 7, 8, 9, 12

Value = None | int | float | str | bytes


class Cell(NamedTuple):
    """
    The part of a row that is on its page.

    Attributes:
        slot: The index among the cells of the page.
        rowid: The number of the row.
        size: Bytes of the whole record.
        local: The bytes that are on this page.
        overflow_page: The page on which the other bytes begin, or 0 if there are none.
        previous_rowid: The number of the row before it on the page, or None if there is none.
        next_rowid: The number of the row behind it, or None.
    """

    slot: int
    rowid: int
    size: int
    local: bytes
    overflow_page: int
    previous_rowid: int | None
    next_rowid: int | None


@dataclass(frozen=True)
class Page:
    """
    A page of a b-tree, or any bytes of that size.

    Args:
        data: The bytes.
        header_at: The offset of the page header. On the first page it is behind the header of the file.
        usable: How many bytes of a page SQLite uses.
    """

    data: bytes
    header_at: int
    usable: int

    @property
    def kind(self) -> int:
        """The type of the page, by its header."""
        return self.data[self.header_at]

    def cells(self) -> list[Cell]:
        """Return the legible rows of a leaf page of a table, or no row of any other page."""
        if self.kind != TABLE_LEAF:
            return []
        cells = [self._cell(slot, at) for slot, at in enumerate(self._pointers())]
        rowids = [None, *(cell.rowid if cell else None for cell in cells), None]
        return [
            cell._replace(previous_rowid=rowids[cell.slot], next_rowid=rowids[cell.slot + 2])
            for cell in cells
            if cell is not None
        ]

    def is_sound(self) -> bool:
        """Return whether this is a page of a b-tree, with every byte accounted for."""
        if self.kind not in _HEADER_SIZES:
            return False
        pointers = self._pointers()
        begin = self._number(5) or 65536
        try:
            taken = sum(self._cell_size(at) for at in pointers) + self._free_bytes()
        except (IndexError, ValueError) as error:
            if is_interruption(error):
                raise
            return False
        return len(pointers) == self._number(3) and taken == self.usable - begin and begin <= min([begin, *pointers])

    # -- the page header ----------------------------------------------------------------------------------------------

    def _number(self, at: int) -> int:
        return int.from_bytes(self.data[self.header_at + at : self.header_at + at + 2])

    def _pointers(self) -> list[int]:
        begin = self.header_at + _HEADER_SIZES[self.kind]
        most = (self.usable - begin) // (2 + _SMALLEST_CELL)
        array = self.data[begin : begin + 2 * min(self._number(3), most)]
        return [int.from_bytes(array[at : at + 2]) for at in range(0, len(array), 2)]

    def _free_bytes(self) -> int:
        """Return the free bytes between the cells: fragments, and the list of free blocks, in ascending order."""
        free, at = self.data[self.header_at + 7], self._number(1)
        while at:
            following, size = int.from_bytes(self.data[at : at + 2]), int.from_bytes(self.data[at + 2 : at + 4])
            if size < _SMALLEST_CELL or 0 < following < at + size:
                raise ValueError(at)
            free, at = free + size, following
        return free

    # -- cells ---------------------------------------------------------------------------------------------------------

    def _cell(self, slot: int, at: int) -> Cell | None:
        try:
            size, at = varint(self.data, at)
            rowid, at = varint(self.data, at)
        except IndexError:
            return None
        local = self._local(size)
        overflow_page = 0 if local == size else int.from_bytes(self.data[at + local : at + local + 4])
        if at + local > self.usable:
            return None
        return Cell(slot, rowid, size, self.data[at : at + local], overflow_page, None, None)

    def _cell_size(self, at: int) -> int:
        """Return how many bytes of the page the cell takes."""
        start = at
        if self.kind in (INDEX_INTERIOR, TABLE_INTERIOR):
            at += 4
        size, at = varint(self.data, at)
        if self.kind == TABLE_INTERIOR:
            return at - start
        if self.kind == TABLE_LEAF:
            _, at = varint(self.data, at)
        local = self._local(size)
        if local < size:
            at += 4
        return max(_SMALLEST_CELL, at + local - start)

    def _local(self, size: int) -> int:
        """Return how many bytes of a record of *size* are on the page itself."""
        most = self.usable - 35 if self.kind == TABLE_LEAF else (self.usable - 12) * 64 // 255 - 23
        if size <= most:
            return size
        least = (self.usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (self.usable - 4)
        return local if local <= most else least


def varint(data: bytes, at: int) -> tuple[int, int]:
    """
    Return the number that begins at *at*, and the offset behind it.

    Raises:
        IndexError: The number continues beyond the data.
    """
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that another byte follows
            return value, at
    return value << 8 | data[at], at + 1


def values(record: bytes) -> tuple[Value, ...] | None:
    """Return the values of a record, or None if these bytes are not a record."""
    try:
        end, at = varint(record, 0)
        types = []
        while at < end:
            kind, at = varint(record, at)
            types.append(kind)
        sizes = [_size(kind) for kind in types]
    except (IndexError, ValueError) as error:
        if is_interruption(error):
            raise
        return None
    if at != end or end + sum(sizes) != len(record):
        return None
    return tuple(_values(record, end, types, sizes))


def _values(record: bytes, at: int, types: list[int], sizes: list[int]) -> Iterator[Value]:
    for kind, size in zip(types, sizes, strict=True):
        yield _value(kind, record[at : at + size])
        at += size


def _size(kind: int) -> int:
    if kind < len(_INTEGER_SIZES):
        return _INTEGER_SIZES[kind]
    if kind in (_REAL, _ZERO, _ONE):
        return 8 if kind == _REAL else 0
    if kind < _BLOB:
        raise ValueError(kind)
    return (kind - _BLOB) // 2


def _value(kind: int, data: bytes) -> Value:
    if kind == 0:
        return None
    if kind < _REAL:
        return int.from_bytes(data, signed=True)
    if kind == _REAL:
        return float(struct.unpack(">d", data)[0])
    if kind in (_ZERO, _ONE):
        return kind - _ZERO
    return data.decode(errors="replace") if kind % 2 else data
