"""Renewal of a WAL that was cut short, or whose wal-index was, while connections were open."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ..files import folder_lock, sync_folder
from ..ownership import create
from ..paths import identity, shm_of, size_of, wal_of
from ..quarantine import quarantine_path
from .gap import last_commit
from .index import read_wal_index
from .parser import FRAME_HEADER_SIZE, WAL_HEADER_SIZE, committed_frames, header_of, read_header
from .rescue import COPIED_AT_ONCE, copy_whole, seen

if TYPE_CHECKING:
    from pathlib import Path

    from .index import WalIndex


def renew_wal(path: Path, page_size: int, header: bytes, *, index_was_cut: bool) -> tuple[bool, Path | None]:
    """
    Replace a WAL that does not match its wal-index by its intact part.

    A process that has the old one open could write to it still, by an index that no longer fits: so the new one is a
    file of its own. That process notices it as any WAL that was replaced. No connection of this process may be open.

    Args:
        path: The spool.
        page_size: Bytes of a page.
        header: The header that the WAL had when it was sound.
        index_was_cut: Whether a part of the wal-index is missing.

    Returns:
        Whether commits are missing, and the path of the file with those that lay behind the gap.
    """
    with folder_lock(path.parent):
        wal = wal_of(path)
        if not wal.exists() or not shm_of(path).exists():
            return False, None  # another process has renewed it; SQLite makes a new index
        index = None if index_was_cut else read_wal_index(path)
        needed = index.frames if index and index.backfilled < index.frames else 0
        is_whole = index is not None and _fits(index, wal) and not _has_gap(wal)
        if is_whole and not needed:
            return False, None
        draft = _draft_of(path)
        _copy_with_header(wal, draft, _header_for(wal, header, index))
        intact, behind = _intact(draft, path, index.page_size if index else page_size)
        if is_whole and intact >= needed:
            draft.unlink()
            return False, None
        aside = quarantine_path(path) if behind and (needed or not index) else None
        if aside:
            copy_whole(path, aside)
        if index and intact < index.backfilled:
            intact = 0  # the file is newer than what is left
        frame = FRAME_HEADER_SIZE + (index.page_size if index else page_size)
        os.truncate(draft, WAL_HEADER_SIZE + intact * frame if intact else 0)
        draft.rename(wal)
        shm_of(path).unlink(missing_ok=True)
        sync_folder(path.parent)
        return bool(aside) or intact < needed, aside


def put_back_wal(path: Path, log: int | None, file: tuple[int, int] | None) -> None:
    """
    Give a WAL that was deleted its name again: a copy of the open *log*, whose identity is *file*, takes it.

    The caller holds the write lock, and deletes the wal-index next. Until then the two fit together.

    Raises:
        OSError: There is no room, or the log is not open.
    """
    if log is None or identity(log) != file:  # the number may be another file's by now
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    with folder_lock(path.parent):
        draft = _draft_of(path)
        draft.unlink(missing_ok=True)
        descriptor = create(draft)
        with os.fdopen(descriptor, "wb") as target:
            at = 0
            while part := os.pread(log, COPIED_AT_ONCE, at):
                at += target.write(part)
            target.flush()
            os.fsync(descriptor)
        draft.rename(wal_of(path))
        sync_folder(path.parent)


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{wal_of(path).name}.renewed")


def _fits(index: WalIndex, wal: Path) -> bool:
    """Return whether every frame that the wal-index knows of is there."""
    with wal.open("rb") as file:
        header = header_of(file.read(WAL_HEADER_SIZE))
    if not index.frames:
        return not size_of(wal) or header.sound
    end = WAL_HEADER_SIZE + index.frames * (FRAME_HEADER_SIZE + index.page_size)
    return header.sound and header.salt == index.salt and size_of(wal) >= end


def _has_gap(wal: Path) -> bool:
    with wal.open("rb") as file:
        begin = read_header(file.fileno())
        return begin.sound and last_commit(file.fileno(), begin) is None


def _header_for(wal: Path, seen_before: bytes, index: WalIndex | None) -> bytes:
    """Return the header that the frames belong to: that of the WAL, or the one that was overwritten."""
    with wal.open("rb") as file:
        stored = file.read(WAL_HEADER_SIZE)
    before = header_of(seen_before)
    if not header_of(stored).sound and before.sound and (index is None or before.salt == index.salt):
        return seen_before
    return stored


def _copy_with_header(wal: Path, draft: Path, header: bytes) -> None:
    draft.unlink(missing_ok=True)
    descriptor = create(draft)
    with os.fdopen(descriptor, "wb") as target, wal.open("rb") as source:
        target.write(header)
        source.seek(len(header))
        while part := source.read(COPIED_AT_ONCE):
            target.write(part)
        target.flush()
        os.fsync(descriptor)


def _intact(draft: Path, path: Path, page_size: int) -> tuple[int, int]:
    """Return how many frames SQLite sees, and how many committed ones lie behind them."""
    wal = os.open(draft, os.O_RDONLY)
    try:
        frames = committed_frames(wal, page_size)
        if not frames:
            return 0, 0
        intact = seen(wal, frames[-1].offset + page_size, path, page_size)
        return intact, len(frames) - intact
    finally:
        os.close(wal)
