"""Detection of files that were deleted, replaced or cut short since they were opened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from ..interruption import is_refusal
from .paths import identity, shm_of, size_of, wal_of
from .wal.gap import are_all_there, last_commit
from .wal.parser import WAL_HEADER_SIZE, Header, header_of

if TYPE_CHECKING:
    from pathlib import Path


class Watch:
    """
    The file, its WAL and the wal-index, looked at by their names and without SQLite.

    SQLite keeps its locks on the file and the wal-index, never on the WAL: only the WAL may be opened here.

    Attributes:
        file: The identity of the file.
        wal_file: That of the WAL.
    """

    def __init__(self, path: Path) -> None:
        # As texts: making those of paths takes longer than asking for the files.
        self._path, self._wal, self._index = str(path), str(wal_of(path)), str(shm_of(path))
        self.file, self.wal_file, self._index_file = map(identity, (self._path, self._wal, self._index))
        self._file_size, self._index_size = size_of(path), size_of(shm_of(path))
        self._seen = _Seen()
        self._is_harmed = False
        self.see_wal()

    @property
    def header(self) -> bytes:
        """The header of the WAL when it was last seen sound. It is empty until the WAL has one."""
        return self._seen.header

    @property
    def lost(self) -> bool:
        """Whether a file has been deleted or replaced, or the WAL or its index was cut short."""
        return self.replaced or size_of(self._index) < self._index_size or not self.see_wal()

    @property
    def replaced(self) -> bool:
        """Whether one of the files has been deleted or replaced."""
        before = (self.file, self.wal_file, self._index_file)
        return None in before or before != tuple(map(identity, (self._path, self._wal, self._index)))

    @property
    def wal_deleted(self) -> bool:
        """Whether the WAL is gone, and the other files are as they were."""
        return (identity(self._path), identity(self._wal), identity(self._index)) == (
            self.file,
            None,
            self._index_file,
        )

    def see_wal(self, *, all_of_it: bool = False) -> bool:
        """
        Return whether the WAL has what was seen of it last, or *all_of_it*, and no gap in what was written behind that.

        SQLite shortens a WAL only when it restarts it, under another header, or when it empties it because all of it
        is in the file. Which of the two an empty one is, the wal-index knows.
        """
        try:
            wal = os.open(self._wal, os.O_RDONLY)
            try:
                is_whole = self._read_on(wal)
                if is_whole and all_of_it:
                    self._is_harmed = not are_all_there(wal, self._seen.begin, self._seen.last)
                return is_whole and not self._is_harmed
            finally:
                os.close(wal)
        except OSError as error:
            if not is_refusal(error):
                raise
            return True

    def _read_on(self, wal: int) -> bool:
        seen = self._seen
        header = os.pread(wal, WAL_HEADER_SIZE, 0)
        if header != seen.header:
            begin = header_of(header)
            seen = _Seen(header, begin) if begin.sound else seen
        if not header or header != seen.header:  # it may have none as long as nothing was written to it
            return not seen.header or header != os.pread(wal, WAL_HEADER_SIZE, 0)
        self._seen = seen
        last = last_commit(wal, seen.begin, seen.last)
        if last is None:  # or it was being restarted
            return header != os.pread(wal, WAL_HEADER_SIZE, 0)
        self._seen = seen._replace(last=last)
        return True

    def restore_index(self) -> bool:
        """
        Give a wal-index that was cut short its length again. Return whether it was cut short.

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
        """Treat the present size of the file as the right one."""
        self._file_size = size_of(self._path)


class _Seen(NamedTuple):
    """
    What was seen of a WAL: one value, since several threads may look at once.

    Attributes:
        header: Its header, as it is stored.
        begin: What that says.
        last: Where the last frame that ended a commit began, 0 if there was none.
    """

    header: bytes = b""
    begin: Header = header_of(b"")
    last: int = 0
