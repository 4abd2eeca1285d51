"""Rescue of the part of a WAL that SQLite does not see."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ...clock import monotonic
from ...errors import SpoolCorruptError, SpoolVersionError
from ...interruption import AllowingRefusal
from ..files import sync_folder
from ..ownership import create
from ..paths import size_of, wal_of
from .parser import (
    FRAME_HEADER_SIZE,
    WAL_HEADER_SIZE,
    WAL_VERSION,
    committed_frames,
    header_of,
    page_size_of,
    read_header,
)

if TYPE_CHECKING:
    from .parser import Frame, Header

COPIED_AT_ONCE = 1 << 20


def frames_beyond_damage(path: Path, page_size: int) -> list[Frame]:
    """
    Return the committed frames of a spool's WAL that SQLite does not see, because something before them is damaged.

    SQLite takes the first damaged frame for the end of the WAL, and would overwrite the frames behind it. The caller
    holds the write lock, so that no process adds to the WAL meanwhile.

    Args:
        path: The spool.
        page_size: Bytes of a page in it, in case the WAL no longer says so.

    Raises:
        OSError: There is no room for a copy of the WAL.
    """
    wal = os.open(wal_of(path), os.O_RDONLY)
    try:
        page_size = page_size_of(wal, page_size)
        frames = committed_frames(wal, page_size)
        return frames[seen(wal, frames[-1].offset + page_size, path, page_size) :] if frames else []
    finally:
        os.close(wal)


def seen(wal: int, end: int, path: Path, page_size: int) -> int:
    """Return how many frames SQLite sees in a copy: it only tells when it moves them into the file."""
    prefix = f".{path.name}.log-"
    for left in [each for each in path.parent.iterdir() if each.name.startswith(prefix)]:
        with AllowingRefusal():  # of a process that was killed in here: the write lock keeps others out
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder:
        copy = Path(folder) / "copy"
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {page_size}")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = WAL")
        with wal_of(copy).open("xb") as target:
            for at in range(0, end, COPIED_AT_ONCE):
                target.write(os.pread(wal, min(end - at, COPIED_AT_ONCE), at))
        os.truncate(copy, max(page_size, size_of(path)))  # a WAL that does not suit the file would be refused
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("PRAGMA writable_schema = ON")  # the schema may be on pages that are not in the WAL
            connection.execute("PRAGMA synchronous = OFF")
            _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return max(0, int(frames))


def pages_in_wal(path: Path, page_size: int) -> set[int]:
    """Return which pages are in the WAL."""
    wal = os.open(wal_of(path), os.O_RDONLY)
    try:
        return {frame.number for frame in committed_frames(wal, page_size_of(wal, page_size))}
    finally:
        os.close(wal)


def check_wal_readable(path: Path, page_size: int | None) -> None:
    """
    Refuse a WAL that SQLite would misread, before it is opened.

    Args:
        path: The spool.
        page_size: Bytes of a page in the spool's file, None if that is not known.

    Raises:
        SpoolVersionError: The WAL is of a newer version of SQLite.
        SpoolCorruptError: The WAL has pages of another size than the file: one of them is not this spool's.
    """
    header = _header(path)
    if not header.sound:
        return
    if header.version != WAL_VERSION:
        raise SpoolVersionError(
            f"spool {path}: its write-ahead log has format {header.version}, this SQLite ({sqlite3.sqlite_version}) "
            f"knows {WAL_VERSION}. Use the SQLite that has written it. It was left as it is."
        )
    if page_size not in (None, header.page_size):
        raise SpoolCorruptError(
            f"spool {path}: it has pages of {page_size} bytes, and its write-ahead log of {header.page_size}. "
            "One of the two files is another spool's: keep both."
        )


def _header(path: Path) -> Header:
    try:
        with wal_of(path).open("rb") as wal:
            return read_header(wal.fileno())
    except FileNotFoundError:
        return header_of(b"")


def is_illegible(path: Path) -> bool:
    """
    Return whether there is something in the WAL, and its header is damaged: SQLite takes it for empty.

    A WAL of nothing but zeros, as a power cut may leave it, holds nothing.
    """
    with AllowingRefusal(FileNotFoundError), wal_of(path).open("rb") as wal:
        if not read_header(wal.fileno()).sound:
            return any(any(part) for part in iter(lambda: wal.read(COPIED_AT_ONCE), b""))
    return False


def explained_by_power_loss(path: Path) -> bool:
    """
    Return whether a power cut may have left the gap: this machine has started since the WAL was last written to.

    A disk writes in any order what has not been synced. So after a power cut commits may be in the WAL behind one that
    is not, and with synchronous="normal" some of them were acknowledged, in the last moments before. That much was
    never promised to survive, so a warning is enough. It is reported all the same, and the rest is kept for `salvage`.
    With "full" it is no different: of what was synced nothing is missing after a power cut, so what is behind the gap
    was not acknowledged. A WAL that has been written to since the machine started cannot have lost anything in this
    way: then it is damaged, and what was promised may be missing.

    A clock that was moved meanwhile may deceive us. Then it is told as the wrong one of two, and nothing else changes.
    """
    return wal_of(path).stat().st_mtime < _started_at()


def _started_at() -> float:
    """When this machine started, by the clock that dates files."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # goes on while the machine sleeps; Linux only
    return time.time() - (monotonic() if clock is None else time.clock_gettime(clock))


def move_frames(path: Path, frames: list[Frame], aside: Path) -> None:
    """
    Move the last *frames* of a spool's WAL, whose header is sound, into the WAL of *aside*, which is made, empty.

    The caller holds the write lock: no process adds to the WAL, or reads beyond the part that SQLite sees.
    """
    wal = os.open(wal_of(path), os.O_RDONLY)
    try:
        frame = FRAME_HEADER_SIZE + read_header(wal).page_size
        parts = [(0, WAL_HEADER_SIZE), *((each.offset - FRAME_HEADER_SIZE, frame) for each in frames)]
        _copy(wal, parts, aside)
    finally:
        os.close(wal)
    end = frames[0].offset - FRAME_HEADER_SIZE
    os.truncate(wal_of(path), end if end > WAL_HEADER_SIZE else 0)


def copy_whole(path: Path, aside: Path) -> None:
    """Copy a spool's WAL, byte for byte, to that of *aside*, which is made, empty."""
    wal = os.open(wal_of(path), os.O_RDONLY)
    try:
        size = os.fstat(wal).st_size
        _copy(wal, [(at, min(COPIED_AT_ONCE, size - at)) for at in range(0, size, COPIED_AT_ONCE)], aside)
    finally:
        os.close(wal)


def _copy(wal: int, parts: list[tuple[int, int]], aside: Path) -> None:
    os.close(create(aside))
    copy = create(wal_of(aside))
    try:
        for at, size in parts:
            os.write(copy, os.pread(wal, size, at))
        os.fsync(copy)
    finally:
        os.close(copy)
    sync_folder(aside.parent)
