"""Detection of a gap in a WAL that other processes write to: it was cut short, and has grown on behind that."""

from __future__ import annotations

import os
import struct
from functools import partial
from typing import TYPE_CHECKING

from .parser import FRAME_HEADER_SIZE, WAL_HEADER_SIZE, checksum

if TYPE_CHECKING:
    from .parser import Header

_NO_COMMIT = bytes(4)
"""A frame that ends no commit has this in place of the number of pages."""


def last_commit(wal: int, begin: Header, known: int = 0) -> int | None:
    """
    Return where the last frame that ends a commit begins in an open WAL, 0 if there is none; None if the WAL has a gap.

    A connection goes on at the end that the wal-index knows, whatever the WAL lacks by then. If the WAL was cut short,
    there are zeros from the cut to that end, which is the end of a commit, and whole commits behind. Everything else is
    as it was written. So there is a gap only if

    - a frame has zeros in place of its salt, and a commit of this WAL lies behind it, or
    - a commit ends in a zero, a frame follows, and the checksum does not hold. Some pages end in zeros by themselves.

    Zeros with no commit behind them are no gap: a power cut may leave them behind the end.

    No lock is needed. SQLite writes one frame after the other, and the header of each before its page: what has a frame
    behind it is whole, and is read again once that has been seen.

    Args:
        wal: The WAL.
        begin: Its header, which is sound.
        known: What this function has returned before, to read on from there: a gap too if that frame is not there.
    """
    frame = FRAME_HEADER_SIZE + begin.page_size
    at, last, ends_commit = known or WAL_HEADER_SIZE, known, False
    while True:
        seam = os.pread(wal, 17, at - 1)  # the last byte of the frame before, and the first ones of this
        is_frame = seam[9:] == begin.salt
        if ends_commit and seam:
            last = at - frame
            if is_frame and not seam[0] and not _is_whole(wal, last, begin):
                return None
        if not is_frame:
            break
        ends_commit = seam[5:9] != _NO_COMMIT
        at += frame
    end = at if seam else at - 1
    if (known and end < known + frame) or _is_gap(wal, at, seam[9:], begin):
        return None
    return last


def are_all_there(wal: int, begin: Header, last: int) -> bool:
    """Return whether nothing was written over the header of a frame since `last_commit` has returned *last*."""
    frame = FRAME_HEADER_SIZE + begin.page_size
    salts = map(partial(os.pread, wal, len(begin.salt)), range(WAL_HEADER_SIZE + 8, last + 9, frame))
    return set(salts) <= {begin.salt}


def _is_gap(wal: int, at: int, salt: bytes, begin: Header) -> bool:
    """Return whether zeros at *at* are in place of a frame: *salt*, or the end of it, is missing."""
    if len(salt) < len(begin.salt) or not begin.salt.startswith(salt.rstrip(b"\0")):
        return False
    return _has_commit_behind(wal, at, begin) and os.pread(wal, 8, at + 8) == salt


def _has_commit_behind(wal: int, at: int, begin: Header) -> bool:
    frame = FRAME_HEADER_SIZE + begin.page_size
    places = range(at + frame, os.fstat(wal).st_size - frame + 1, frame)
    headers = (os.pread(wal, 16, place) for place in places)
    return any(header[8:] == begin.salt and header[4:8] != _NO_COMMIT for header in headers)


def _is_whole(wal: int, at: int, begin: Header) -> bool:
    """Return whether the checksum of the frame at *at* goes on from that of the frame before."""
    frame = FRAME_HEADER_SIZE + begin.page_size
    before = os.pread(wal, 8, at - frame + 16 if at > WAL_HEADER_SIZE else WAL_HEADER_SIZE - 8)
    stored = os.pread(wal, frame, at)
    if len(before + stored) < 8 + frame:
        return False  # it is being cut short
    expected = checksum(begin.order, stored[:8] + stored[FRAME_HEADER_SIZE:], *struct.unpack(">2I", before))
    return int.from_bytes(stored[20:24]) == expected
