"""The reserve: bytes of the volume that are kept so that uploading and deleting go on once it is full."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ..errors import is_volume_full
from ..interruption import AllowingRefusal
from .ownership import create
from .paths import reserve_of, size_of

if TYPE_CHECKING:
    from pathlib import Path

MIN_RESERVE = 64 << 10
_CHUNK = 64 << 10
_UNKNOWN = 1 << 62
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Reserve:
    """
    A file of zeros beside the spool.

    It is emptied when the volume has no room for a checkpoint or a change of the ledger, and filled again when there is
    room. An empty one tells every process that the volume is full: until there is one again, the spool's file does not
    grow, so that events are only appended in place of deleted ones and do not take the room that was kept.

    Args:
        path: The spool.
        size: Bytes to keep. It is less on a small volume, and on one that is nearly full.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = reserve_of(path)
        self._size = size

    @property
    def size(self) -> int:
        """Bytes that are kept now."""
        return size_of(self._path)

    def keep(self) -> bool:
        """
        Ensure that bytes are kept. Return False if the volume has no room for any.

        A file that cannot be made for another reason, such as the mode of its folder, is done without.
        """
        if self.size:
            return True
        with AllowingRefusal():
            return self._fill()
        return True

    def release(self) -> None:
        """Give the bytes to the volume."""
        _empty(self._path)

    def volume_has(self, size: int) -> bool:
        """Return whether *size* bytes of the volume are free."""
        return _volume(self._path.parent)[1] >= size

    def _fill(self) -> bool:
        total, free = _volume(self._path.parent)
        size = min(self._size, total // 8, free // 4)  # most of what is free is left for events
        least = min(self._size, MIN_RESERVE)
        if size < least:
            return False
        try:
            descriptor = create(self._path)
        except FileExistsError:
            descriptor = os.open(self._path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            while size >= least:
                if _allocate(descriptor, size):
                    return True
                size //= 2
            return False
        finally:
            os.close(descriptor)


def release_if_full(path: Path, error: BaseException) -> bool:
    """Give the reserve of the spool at *path* to the volume if *error* may say that it is full. Return whether so."""
    if is_volume_full(error):
        _empty(reserve_of(path))
        return True
    return False


def _empty(reserve: Path) -> None:
    with AllowingRefusal():
        os.truncate(reserve, 0)


def _volume(folder: Path) -> tuple[int, int]:
    """Return the bytes of the volume, and those that are free."""
    if hasattr(os, "statvfs"):
        volume = os.statvfs(folder)
        if volume.f_blocks:  # some file systems do not tell
            return volume.f_blocks * volume.f_frsize, volume.f_bavail * volume.f_frsize
    return _UNKNOWN, _UNKNOWN


def _allocate(descriptor: int, size: int) -> bool:
    """Have *size* bytes of the volume belong to an empty file. If there is no room, keep none and return False."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            for at in range(0, size, _CHUNK):
                os.pwrite(descriptor, bytes(min(_CHUNK, size - at)), at)
    except OSError as error:
        os.ftruncate(descriptor, 0)
        if error.errno in _NO_ROOM:
            return False
        raise
    return True
