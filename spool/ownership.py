"""Files that are made anew, and whose they are: a service must be able to go on after someone ran a script as root."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def create(path: Path, flags: int = os.O_RDWR) -> int:
    """
    Make a file of mode 0600 where there is none, and return a descriptor of it.

    Made by root, it belongs to the owner of its folder. SQLite does the same with the files that it makes beside a
    database.

    Raises:
        FileExistsError: There is one.
        OSError: The system refuses.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if sys.platform != "win32":
            os.fchmod(descriptor, 0o600)  # whatever the umask took away
        if owner := _other_owner(path.parent):
            os.chown(descriptor, *owner)  # not by its name: the owner could have put another file there
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def create_unopened(path: Path) -> None:
    """
    Do the same without a descriptor that would have to be closed.

    Another thread may have opened the file with SQLite by then, and closing any descriptor of it would drop SQLite's
    locks. Only Linux lets everyone make a file in this way; elsewhere a moment remains in which that can happen.

    Raises:
        FileExistsError: There is one.
        OSError: The system refuses.
    """
    if sys.platform != "linux":
        os.close(create(path))
        return
    os.mknod(path, 0o600 | stat.S_IFREG)
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)  # of this kind one drops no locks
    try:
        name = f"/proc/self/fd/{descriptor}"
        os.chmod(name, 0o600)  # noqa: PTH101 - whatever the umask took away
        if owner := _other_owner(path.parent):
            os.chown(name, *owner)
    finally:
        os.close(descriptor)


def give_to_owner(new: Path, folder: Path) -> None:
    """Give what root has just made, in a folder of its own or as a folder, to the owner of *folder*."""
    if owner := _other_owner(folder):
        os.chown(new, *owner, follow_symlinks=False)


def _other_owner(folder: Path) -> tuple[int, int] | None:
    if sys.platform == "win32" or os.geteuid():
        return None
    found = folder.stat()
    return (found.st_uid, found.st_gid) if found.st_uid else None
