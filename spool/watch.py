"""The files of a spool as they were when they were opened: whether they are the same still, and have lost nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .connection import shm_of, wal_of
from .filesystem import identity, size_of
from .wal import FRAME_HEADER_SIZE, WAL_HEADER_SIZE, end_without_gap, header_of, is_cut_off, read_header

if TYPE_CHECKING:
    from pathlib import Path


class Watch:
    """
    The file, its WAL and the wal-index, looked at by their names and without SQLite.

    SQLite keeps its locks on the file and the wal-index, never on the WAL: only the WAL may be opened here.

    Attributes:
        file: The identity of the file.
        header: The header of the WAL when it was last seen sound.
    """

    def __init__(self, path: Path) -> None:
        # As texts: making those of paths takes longer than asking for the files.
        self._path, self._wal, self._index = str(path), str(wal_of(path)), str(shm_of(path))
        self.file, self._wal_file, self._index_file = map(identity, (self._path, self._wal, self._index))
        self.header = b""
        self._end = _End()
        self._had_gap = False
        self._file_size, self._index_size = size_of(path), size_of(shm_of(path))
        self.accept_wal()

    @property
    def lost(self) -> bool:
        """Whether a file has been deleted or replaced, or the WAL or its index was cut short."""
        if not self.replaced:
            return size_of(self._index) < self._index_size or self._wal_is_cut(size_of(self._wal))
        return True

    @property
    def replaced(self) -> bool:
        """Whether one of the files has been deleted or replaced."""
        before = (self.file, self._wal_file, self._index_file)
        return None in before or before != tuple(map(identity, (self._path, self._wal, self._index)))

    @property
    def wal_deleted(self) -> bool:
        """Whether the WAL is gone, and all else as it was."""
        return (identity(self._path), identity(self._wal), identity(self._index)) == (
            self.file,
            None,
            self._index_file,
        )

    def _wal_is_cut(self, size: int) -> bool:
        """
        Return whether the WAL is shorter than it was, or has a gap, or its header is damaged.

        SQLite shortens a WAL only when it begins it anew, under another header, or when it empties it because all of it
        is in the file. Which of the two an empty one is, the wal-index knows.
        """
        end = self._end
        try:
            wal = os.open(self._wal, os.O_RDONLY)
        except OSError as error:
            if error.errno is None:
                raise  # not the system's: a signal handler's TimeoutError
            return False
        try:
            header = os.pread(wal, WAL_HEADER_SIZE, 0)
            if self.header and header == self.header:
                frames = self._end_now(wal, size)
                is_whole = frames is not None
                if frames and frames > end.frames and self._end is end:
                    self._end = _End.of(wal, size, frames)
            elif header_of(header).sound:
                is_whole = end_without_gap(wal, WAL_HEADER_SIZE) is not None
            else:
                is_whole = not self.header and size <= end.size  # as it was when it was opened
            # Or it was being written at that moment.
            return not is_whole and header == os.pread(wal, WAL_HEADER_SIZE, 0)
        finally:
            os.close(wal)

    def _end_now(self, wal: int, size: int) -> int | None:
        """Where the frames of the open WAL end, which has the same header; None if any is lost."""
        end = self._end
        if size < end.size or not end.is_in(wal):
            return None
        return end.frames if self._had_gap else end_without_gap(wal, end.frames)

    def accept_wal(self) -> None:
        """
        Take the header and the size of the WAL for what they should be; the caller holds the write lock.

        A commit that begins the WAL anew writes the header first and cuts the WAL last: in between, it is too long.
        """
        try:
            wal = os.open(self._wal, os.O_RDONLY)
        except OSError as error:
            if error.errno is None:
                raise  # as above
            return
        try:
            header = os.pread(wal, WAL_HEADER_SIZE, 0)
            size = os.fstat(wal).st_size
            if self.header and header == self.header:
                self._end = self._end._replace(size=size)
            elif header_of(header).sound:
                frames = end_without_gap(wal, WAL_HEADER_SIZE)
                # A power cut leaves frames that were never acknowledged behind a gap.
                self.header, self._had_gap = header, frames is None
                self._end = _End(size) if frames is None else _End.of(wal, size, frames)
            elif not self.header:
                self._end = _End(size)
        finally:
            os.close(wal)

    def restore_index(self) -> bool:
        """
        Give a wal-index that was cut short its length again; return whether it had been.

        Any access to the part that is missing would kill the process by SIGBUS: it is mapped into memory.
        """
        if identity(self._index) != self._index_file or size_of(self._index) >= self._index_size:
            return False
        os.truncate(self._index, self._index_size)
        return True

    @property
    def has_second_name(self) -> bool:
        """Whether the file has a hard link."""
        try:
            return os.stat(self._path).st_nlink > 1  # noqa: PTH116 - on the way of every look, as in `identity`
        except OSError as error:
            if error.errno is None:
                raise  # as above
            return False

    @property
    def file_shrank(self) -> bool:
        """Whether the file is shorter than it was: a checkpoint has given pages back, or it was cut short."""
        size = size_of(self._path)
        if size >= self._file_size:
            self._file_size = size
            return False
        return True

    def accept_file_size(self) -> None:
        """Take the size of the file for what it should be."""
        self._file_size = size_of(self._path)


class _End(NamedTuple):
    """
    The end of a WAL as it was.

    Attributes:
        size: Bytes of the WAL.
        frames: Where its frames end; those behind are of a time before it was begun.
        last: Where the last one begins.
        header: The header of that.
        written: Where the last byte of that is that is not zero.
    """

    size: int = 0
    frames: int = 0
    last: int = 0
    header: bytes = b""
    written: int = 0

    @classmethod
    def of(cls, wal: int, size: int, frames: int) -> _End:
        """The end of an open WAL whose header is sound, by its size and where its frames end."""
        frame = FRAME_HEADER_SIZE + read_header(wal).page_size
        last = frames - frame
        stored = os.pread(wal, frame, last) if last > 0 else b""
        return cls(size, frames, last, stored[:FRAME_HEADER_SIZE], last + len(stored.rstrip(b"\0")) - 1)

    def is_in(self, wal: int) -> bool:
        """Whether the last frame is still in an open WAL whose header is the same."""
        if not self.header:
            return True
        header = os.pread(wal, FRAME_HEADER_SIZE, self.last)
        if header == self.header:
            return any(os.pread(wal, 1, self.written))
        return not is_cut_off(header, self.header)
