"""Creation of files, and their owners: a service must be able to go on after a script ran as root."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from ..interruption import is_refusal


def create(path: Path, like: Path | None = None) -> int:
    """
    Create a file of mode 0600, and return a descriptor of it.

    Made by root, it belongs to the owner of *like*, or else of its folder. SQLite does the same with the files that it
    makes beside a database.

    Raises:
        FileExistsError: There is one.
        OSError: The system refuses.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if sys.platform != "win32":
            os.fchmod(descriptor, 0o600)  # whatever the umask took away
        give_to_owner(descriptor, like or path.parent)  # not by its name: the owner could have put another file there
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_or_create(path: Path, spool: Path) -> int:
    """
    Open a file beside *spool*, and create it as `create` does if there is none.

    Raises:
        OSError: The system refuses, or the path is a symbolic link.
    """
    try:
        return create(path, spool if spool.exists() else None)
    except FileExistsError:
        return os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))


def create_unopened(path: Path) -> None:
    """
    Create a file as `create` does, without a descriptor that would have to be closed.

    Another thread may have opened the file with SQLite by then, and closing any descriptor of it would drop SQLite's
    locks. Only Linux lets every user create a file in this way. Elsewhere a moment remains in which that can happen.

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
        give_to_owner(name, path.parent)
    finally:
        os.close(descriptor)


def give_to_owner(new: Path | str | int, like: Path) -> None:
    """Give a file that root has just created to the owner of *like*: by its path only if no one else can replace it."""
    if sys.platform == "win32" or os.geteuid():
        return
    owner = like.stat()
    if not owner.st_uid:
        return
    try:
        os.chown(new, owner.st_uid, owner.st_gid, follow_symlinks=not isinstance(new, Path))
    except OSError as error:  # in a container, root may have no right to, and the owner no number
        if not is_refusal(error):
            raise
