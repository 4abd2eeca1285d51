"""
The write-ahead log as it lies on the disk.

The format is described at https://sqlite.org/fileformat2.html#walformat; the names here are its names.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from .clock import monotonic
from .connection import wal_of
from .filesystem import size_of, sync_folder
from .space import PAGE_SIZE

_HEAD_OF_LOG = 32
_HEAD_OF_FRAME = 24
_FRAME = _HEAD_OF_FRAME + PAGE_SIZE
_COPIED_AT_ONCE = 1 << 20
_MASK = (1 << 32) - 1
_MAGIC = {b"\x37\x7f\x06\x82": "<", b"\x37\x7f\x06\x83": ">"}
"""What a log begins with, and the order of the bytes in the words that its checksums are made of."""


class Frame(NamedTuple):
    """
    A page in the log.

    Attributes:
        offset: Where the page begins.
        number: Which page it is.
        pages: Pages of the file after a commit that this frame ends, 0 where it ends none.
    """

    offset: int
    number: int
    pages: int


def committed(log: int) -> list[Frame]:
    """
    The frames up to the last commit since the log was begun anew; behind it lie older ones, long in the file.

    That a frame between them is damaged says nothing of those behind it.
    """
    begin = os.pread(log, _HEAD_OF_LOG, 0)
    offsets = range(_HEAD_OF_LOG, os.fstat(log).st_size - _FRAME + 1, _FRAME)
    heads = [os.pread(log, _HEAD_OF_FRAME, at) for at in offsets]
    salt = _salt(begin, heads)
    commits = [index for index, head in enumerate(heads) if head[8:16] == salt and any(head[4:8])]
    whole = heads[: commits[-1] + 1] if commits else []
    return [
        Frame(at + _HEAD_OF_FRAME, int.from_bytes(head[:4]), int.from_bytes(head[4:8]) if head[8:16] == salt else 0)
        for at, head in zip(offsets, whole, strict=False)
    ]


def _salt(begin: bytes, heads: list[bytes]) -> bytes:
    """What the frames of this log have in common; where its head is damaged, they tell."""
    if _is_sound(begin):
        return begin[16:24]
    salts = [salt for salt in [begin[16:24], *(head[8:16] for head in heads)] if len(set(salt)) > 1]  # not wiped
    counts = Counter(salts)
    return next((each for each in salts if counts[each] > 1), b"")


def _is_sound(begin: bytes) -> bool:
    order = _MAGIC.get(begin[:4])
    if order is None or len(begin) < _HEAD_OF_LOG:
        return False
    words = struct.unpack(f"{order}6I", begin[:24])
    one = two = 0
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & _MASK
        two = (two + second + one) & _MASK
    return struct.unpack(">2I", begin[24:]) == (one, two)


def unseen(path: Path) -> list[Frame]:
    """
    The committed frames of a spool's log that SQLite does not see, because something before them is damaged.

    It takes the first damaged frame for the end of the log, and would write over what is behind. The caller holds the
    write lock, so that nobody adds to the log meanwhile.

    Raises:
        OSError: There is no room for a copy of the log.
    """
    log = os.open(wal_of(path), os.O_RDONLY)
    try:
        frames = committed(log)
        return frames[_seen(log, frames[-1].offset + PAGE_SIZE, path) :] if frames else []
    finally:
        os.close(log)


def _seen(log: int, end: int, path: Path) -> int:
    """How many frames SQLite sees; it is asked about a copy, since it only tells when it moves them into the file."""
    prefix = f".{path.name}.log-"
    for left in [each for each in path.parent.iterdir() if each.name.startswith(prefix)]:
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed in here: the write lock keeps others out
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder:
        copy = Path(folder) / "copy"
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = WAL")
        with wal_of(copy).open("xb") as target:
            for at in range(0, end, _COPIED_AT_ONCE):
                target.write(os.pread(log, min(end - at, _COPIED_AT_ONCE), at))
        os.truncate(copy, max(PAGE_SIZE, size_of(path)))  # a log that does not suit the file would be refused
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            _, seen, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return max(0, int(seen))


def may_be_cut_off(path: Path) -> bool:
    """
    Whether a gap in the log may be what a power cut leaves: this machine has started since the log was last written to.

    A disk writes in any order what has not been synced. So after a power cut commits may be in the log behind one that
    is not, and with synchronous="normal" some of them were acknowledged, in the last moments before. That much was
    never promised to survive, so nobody need be woken; it is told all the same, and what is left is kept for `salvage`.
    With "full" it is no different: of what was synced nothing is missing after a power cut, so what is behind the gap
    was not acknowledged. A log that has been written to since the machine started cannot have lost anything in this
    way: then it is damaged, and what was promised may be missing.

    A clock that was moved meanwhile may deceive us. Then it is told as the wrong one of two, and nothing else changes.
    """
    return wal_of(path).stat().st_mtime < _started_at()


def _started_at() -> float:
    """When this machine started, by the clock that dates files."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # goes on while the machine sleeps; Linux only
    return time.time() - (monotonic() if clock is None else time.clock_gettime(clock))


def rescue(path: Path, frames: list[Frame], aside: Path) -> None:
    """
    Move the last *frames* of a spool's log into the log of *aside*, which is made, empty.

    The caller holds the write lock: nobody adds to the log or reads beyond what SQLite sees of it.
    """
    log = os.open(wal_of(path), os.O_RDONLY)
    try:
        _copy(log, frames, aside)
    finally:
        os.close(log)
    end = frames[0].offset - _HEAD_OF_FRAME
    os.truncate(wal_of(path), end if end > _HEAD_OF_LOG else 0)


def _copy(log: int, frames: list[Frame], aside: Path) -> None:
    aside.touch(0o600, exist_ok=False)
    copy = os.open(wal_of(aside), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(copy, os.pread(log, _HEAD_OF_LOG, 0))
        for frame in frames:
            os.write(copy, os.pread(log, _FRAME, frame.offset - _HEAD_OF_FRAME))
        os.fsync(copy)
    finally:
        os.close(copy)
    sync_folder(aside.parent)
