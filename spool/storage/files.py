"""Private files, locked folders and syncs: the file system as a spool needs it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SpoolError, from_os_error
from ..interruption import AllowingRefusal, is_refusal
from .ownership import create_unopened, give_to_owner
from .paths import identity, size_of

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

_BESIDE = ("", "-wal", "-shm", "-journal", ".lease", ".lock", ".reserve")


def check_ownership(path: Path) -> None:
    """
    Refuse a spool, a file beside it or a link to it that another user has put in a folder that all may write to.

    That user could read the events, or have them written to any place. Systems refuse to follow such links, but do not
    see that they are followed here, when a path is resolved.

    Raises:
        SpoolError: There is such a file or link.
    """
    for each in [path.with_name(path.name + suffix) for suffix in _BESIDE] if sys.platform != "win32" else []:
        with AllowingRefusal():  # nothing is there, or opening it will raise the error
            found, folder = each.lstat(), each.parent.stat()
            if folder.st_mode & stat.S_IWOTH and found.st_uid not in {os.geteuid(), folder.st_uid}:
                raise SpoolError(
                    f"spool {path}: in a folder that everyone may write to, {each.name} belongs to another user "
                    "- set spool_path or ALIGNAI_SPOOL_PATH to a folder of your own"
                )


def create_private(path: Path) -> None:
    """
    Create an empty file of mode 0600 in folders of mode 0700, if there is none yet.

    Raises:
        SpoolError: The path leads through a file, or is a folder or a pipe, or may not be written.
    """
    try:
        _make_folders(path.parent)
        create_unopened(path)
    except FileExistsError:
        _check_existing(path)
        return
    except OSError as error:
        if not is_refusal(error):
            raise
        raise from_os_error(error, str(path)) from error
    sync_folder(path.parent)


def _check_existing(path: Path) -> None:
    if path.is_dir():
        raise SpoolError(f"spool {path}: this is a folder. Name a file in it.")
    if path.exists() and not path.is_file():
        raise SpoolError(f"spool {path}: this is a pipe, a socket or a device. Name a file.")
    found = identity(path)
    writable = os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if found and not writable and identity(path) == found:  # not one that another process sets aside in this moment
        # SQLite would open it all the same, and refuse every event from then on.
        raise SpoolError(f"spool {path}: it cannot be written. Check the modes of the file, and its disk.")
    if not size_of(path):
        with AllowingRefusal():  # another user's stays as it is
            path.chmod(0o600)  # whatever it was made for, from now on it holds messages


def _make_folders(folder: Path) -> None:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
        missing.chmod(0o700)
        give_to_owner(missing, missing.parent)
        with AllowingRefusal(PermissionError):  # a folder that may be entered, but not read
            sync_folder(missing.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in *folder* on stable storage."""
    _sync(folder, os.O_RDONLY)


def sync_wal(wal: Path) -> None:
    """
    Put all that has been written to the WAL on stable storage.

    SQLite keeps its locks on the file and its index, never on the WAL: opening and closing the WAL is safe.
    """
    _sync(wal, os.O_RDWR)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Exclude other processes that ask for the same, if a folder can be locked. That needs no other file."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def scratch_folder(beside: Path, prefix: str) -> Iterator[Path]:
    """Create a private folder beside *beside*. `remove_stale_scratch` deletes those that killed processes left."""
    _make_folders(beside.parent)
    with folder_lock(beside.parent):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=beside.parent))
        held = _hold(folder)
    try:
        yield folder
    finally:
        with AllowingRefusal():
            shutil.rmtree(folder)
        if held is not None:
            os.close(held)


def remove_stale_scratch(beside: Path, prefix: str) -> None:
    """Delete the scratch folders beside *beside* that no living process holds."""
    if beside.parent.is_dir():
        with folder_lock(beside.parent):
            for left in beside.parent.glob(f"{prefix}*"):
                _delete_unless_held(left)


def _delete_unless_held(folder: Path) -> None:
    with AllowingRefusal():  # its maker lives, or it is another user's
        held = _hold(folder)
        if held is not None:
            try:
                shutil.rmtree(folder)
            finally:
                os.close(held)


def _hold(folder: Path) -> int | None:
    """Lock *folder* for as long as the process lives. Return None if a folder cannot be locked."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
