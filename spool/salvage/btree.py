"""
SQLite's pages, read without SQLite: of a damaged file it gives out what is left of a tree, not what is left.

The format is described at https://sqlite.org/fileformat2.html; the names here are its names.
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

_HEAD_SIZES = {INDEX_INTERIOR: 12, TABLE_INTERIOR: 12, INDEX_LEAF: 8, TABLE_LEAF: 8}
_SMALLEST_CELL = 4
_INTEGER_SIZES = (0, 1, 2, 3, 4, 6, 8)
_REAL, _ZERO, _ONE, _BLOB = 7, 8, 9, 12

Value = None | int | float | str | bytes


class Cell(NamedTuple):
    """
    A row, as far as it is on its page.

    Attributes:
        slot: Its place among the page's cells.
        number: The row's number.
        size: Bytes of the whole record.
        local: Those that are on the page.
        rest: The page where the others begin, 0 where there are none.
        before: The number of the row before it on the page, None where there is none.
        behind: The number of the row behind it.
    """

    slot: int
    number: int
    size: int
    local: bytes
    rest: int
    before: int | None
    behind: int | None


@dataclass(frozen=True)
class Page:
    """
    One page of a tree, or what was one.

    Args:
        data: Its bytes.
        head: Where its own head begins: on the first page, behind the file's.
        usable: Bytes of a page that SQLite uses.
    """

    data: bytes
    head: int
    usable: int

    @property
    def kind(self) -> int:
        """What the page says it is."""
        return self.data[self.head]

    def cells(self) -> list[Cell]:
        """The rows of a leaf of a table that can be made out; none of any other page."""
        if self.kind != TABLE_LEAF:
            return []
        found = [self._cell(slot, at) for slot, at in enumerate(self._pointers())]
        numbers = [None, *(cell.number if cell else None for cell in found), None]
        cells = [cell for cell in found if cell is not None]
        return [cell._replace(before=numbers[cell.slot], behind=numbers[cell.slot + 2]) for cell in cells]

    def is_sound(self) -> bool:
        """Whether it is the page of a tree, each byte of it accounted for."""
        if self.kind not in _HEAD_SIZES:
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

    # -- the head of the page ------------------------------------------------------------------------------------------

    def _number(self, at: int) -> int:
        return int.from_bytes(self.data[self.head + at : self.head + at + 2])

    def _pointers(self) -> list[int]:
        begin = self.head + _HEAD_SIZES[self.kind]
        most = (self.usable - begin) // (2 + _SMALLEST_CELL)
        array = self.data[begin : begin + 2 * min(self._number(3), most)]
        return [int.from_bytes(array[at : at + 2]) for at in range(0, len(array), 2)]

    def _free_bytes(self) -> int:
        """Between the cells: fragments, and the chain of free blocks, which goes up the page."""
        free, at = self.data[self.head + 7], self._number(1)
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
            number, at = varint(self.data, at)
        except IndexError:
            return None
        local = self._local(size)
        rest = 0 if local == size else int.from_bytes(self.data[at + local : at + local + 4])
        if at + local > self.usable:
            return None
        return Cell(slot, number, size, self.data[at : at + local], rest, None, None)

    def _cell_size(self, at: int) -> int:
        """Bytes that the cell takes on the page."""
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
        """Bytes of a record of *size* that are on the page itself."""
        most = self.usable - 35 if self.kind == TABLE_LEAF else (self.usable - 12) * 64 // 255 - 23
        if size <= most:
            return size
        least = (self.usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (self.usable - 4)
        return local if local <= most else least


def varint(data: bytes, at: int) -> tuple[int, int]:
    """
    The number that begins at *at*, and where it ends.

    Raises:
        IndexError: It goes on beyond the data.
    """
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that it goes on
            return value, at
    return value << 8 | data[at], at + 1


def values(record: bytes) -> tuple[Value, ...] | None:
    """The values of a record, or None where these bytes are none."""
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
