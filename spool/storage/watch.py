"""The files of a spool as they were when they were opened: whether they are the same still, and have lost nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..interruption import is_refusal
from .files import identity, size_of
from .sqlite import shm_of, wal_of
from .wal.parser import FRAME_HEADER_SIZE, WAL_HEADER_SIZE, header_of

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
        self._has_tail = False
        self._file_size, self._wal_size, self._index_size = size_of(path), 0, size_of(shm_of(path))
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
        Return whether the WAL is shorter than it was, or its header is damaged.

        SQLite shortens a WAL only when it begins it anew, under another header, or when it empties it because all of it
        is in the file. Which of the two an empty one is, the wal-index knows.
        """
        header, tail = self._read(self._wal_size)
        is_whole = size >= self._wal_size and (tail or not self._has_tail)
        if is_whole if header == self.header else header_of(header).sound:
            return False
        # Or it was being written at that moment.
        return bool(self._wal_size) and (header, tail) == self._read(self._wal_size)

    def accept_wal(self) -> None:
        """
        Take the header and the size of the WAL for what they should be; the caller holds the write lock.

        A commit that begins the WAL anew writes the header first and cuts the WAL last: in between, it is too long.
        """
        size = size_of(self._wal)
        header, tail = self._read(size)
        if header_of(header).sound:
            self.header, self._wal_size, self._has_tail = header, size, tail

    def _read(self, end: int) -> tuple[bytes, bool]:
        """
        The header of the WAL, and whether the last frame before *end* has a header.

        A connection that goes on writing to a WAL that was cut short leaves zeros in the gap. No frame begins so.
        """
        try:
            wal = os.open(self._wal, os.O_RDONLY)
            try:
                header = os.pread(wal, WAL_HEADER_SIZE, 0)
                frame = FRAME_HEADER_SIZE + header_of(self.header or header).page_size
                last = end - (end - WAL_HEADER_SIZE) % frame - frame
                return header, last > 0 and any(os.pread(wal, FRAME_HEADER_SIZE, last))
            finally:
                os.close(wal)
        except OSError as error:
            if not is_refusal(error):
                raise
            return self.header, self._has_tail

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
            if not is_refusal(error):
                raise
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
