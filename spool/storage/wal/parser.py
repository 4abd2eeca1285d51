"""
The write-ahead log, read without SQLite.

The format is described at https://sqlite.org/fileformat2.html#walformat; the names here are its names.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from functools import cache
from operator import mul
from typing import NamedTuple

from ..limits import PAGE_SIZE, PAGE_SIZES

WAL_HEADER_SIZE = 32
WAL_VERSION = 3007000
FRAME_HEADER_SIZE = 24
_MASK = (1 << 32) - 1
_MAGIC = {b"\x37\x7f\x06\x82": "<", b"\x37\x7f\x06\x83": ">"}
"""The first bytes of a WAL, and the byte order of the words that its checksums are made of."""


class Frame(NamedTuple):
    """
    A page in the WAL.

    Attributes:
        offset: Where the page begins.
        number: Which page it is.
        pages: Pages of the file after a commit that this frame ends, 0 if it ends none.
    """

    offset: int
    number: int
    pages: int


class Header(NamedTuple):
    """
    The header of a WAL.

    Attributes:
        sound: Whether its checksum holds. SQLite takes a WAL for empty if it does not.
        version: The version of the format.
        page_size: Bytes of a page in each frame.
        salt: What the frames of this WAL have in common.
        order: The order of the bytes in the words that checksums are made of.
    """

    sound: bool
    version: int
    page_size: int
    salt: bytes
    order: str


def header_of(stored: bytes) -> Header:
    """Parse the first bytes of a WAL."""
    version, page_size = (int.from_bytes(stored[at : at + 4]) for at in (4, 8))
    order = _MAGIC.get(stored[:4], "")
    sound = _is_sound(stored, order) and page_size in PAGE_SIZES
    return Header(sound, version, page_size, stored[16:24], order)


def read_header(wal: int) -> Header:
    """Read the header of an open WAL."""
    return header_of(os.pread(wal, WAL_HEADER_SIZE, 0))


def _is_sound(stored: bytes, order: str) -> bool:
    if not order or len(stored) < WAL_HEADER_SIZE:
        return False
    return int.from_bytes(stored[28:32]) == checksum(order, stored[:24])


def checksum(order: str, stored: bytes, one: int = 0, two: int = 0) -> int:
    """
    Return the second half of the checksum of *stored*, which goes on from that of what is before it.

    Each word is added to the two sums before it, which makes the next. So the last one is the sum of all words, each
    times a Fibonacci number.
    """
    words = (one, two - one, *struct.unpack(f"{order}{len(stored) // 4}I", stored))
    total: int = sum(map(mul, reversed(words), _fibonacci(len(words))))
    return total & _MASK


@cache
def _fibonacci(count: int) -> list[int]:
    numbers = [1, 1]
    while len(numbers) < count:
        numbers.append((numbers[-1] + numbers[-2]) & _MASK)
    return numbers


def page_size_of(wal: int, otherwise: int = PAGE_SIZE) -> int:
    """
    Return the page size of an open WAL.

    If the header is damaged, it is the size with which the most frames have the same salt, or *otherwise*.
    """
    header = read_header(wal)
    if header.sound:
        return header.page_size
    return max((otherwise, *PAGE_SIZES), key=lambda size: _alike(_frame_headers(wal, size)))


def _alike(headers: list[bytes]) -> int:
    """Return how many frames have the same salt, unless it is wiped."""
    counts = Counter(header[8:16] for header in headers if len(set(header[8:16])) > 1)
    most = max(counts.values(), default=0)
    return most if most > 1 else 0


def _frame_headers(wal: int, page_size: int) -> list[bytes]:
    frame = FRAME_HEADER_SIZE + page_size
    return [
        os.pread(wal, FRAME_HEADER_SIZE, at) for at in range(WAL_HEADER_SIZE, os.fstat(wal).st_size - frame + 1, frame)
    ]


def committed_frames(wal: int, page_size: int) -> list[Frame]:
    """
    Return the frames up to the last commit since the WAL was restarted. Those behind it are older, and in the file.

    That a frame between them is damaged says nothing of those behind it.
    """
    headers = _frame_headers(wal, page_size)
    salt = _salt(read_header(wal), headers)
    commits = [index for index, header in enumerate(headers) if header[8:16] == salt and any(header[4:8])]
    whole = headers[: commits[-1] + 1] if commits else []
    return [
        Frame(
            WAL_HEADER_SIZE + index * (FRAME_HEADER_SIZE + page_size) + FRAME_HEADER_SIZE,
            int.from_bytes(header[:4]),
            int.from_bytes(header[4:8]) if header[8:16] == salt else 0,
        )
        for index, header in enumerate(whole)
    ]


def _salt(begin: Header, headers: list[bytes]) -> bytes:
    """Return the salt of this WAL. If its header is damaged, it is taken from the frames."""
    if begin.sound:
        return begin.salt
    salts = [salt for salt in [begin.salt, *(header[8:16] for header in headers)] if len(set(salt)) > 1]  # not wiped
    counts = Counter(salts)
    return next((each for each in salts if counts[each] > 1), b"")
