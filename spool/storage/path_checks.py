"""Where a spool may be: SQLite's WAL needs memory that all processes share, and one name for one file."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..errors import SpoolError
from ..interruption import AllowingRefusal

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = "/proc/self/mountinfo"

_NETWORK = frozenset(
    """
    afs acfs beegfs ceph cifs coda davfs gfs glusterfs gpfs lustre ncpfs nfs nfs3 nfs4 orangefs panfs pvfs2 smb2 smb3
    smbfs wekafs
    """.split()  # noqa: SIM905 - a page of quotation marks
)
_NETWORK_FUSE = frozenset(
    """
    afp alluxio blobfuse blobfuse2 ceph ceph-fuse cvmfs cvmfs2 curlftpfs dav davfs davfs2 gcsfuse geesefs glusterfs
    goofys google-drive-ocamlfuse gvfsd-fuse juicefs lizardfs mfs mfsmount moosefs mount-s3 mountpoint-s3 nfs
    objectivefs onedriver orangefs quobyte rclone riofs s3backer s3fs s3ql saunafs seaweedfs smbnetfs sshfs tigrisfs
    weed yas3fs
    """.split()  # noqa: SIM905 - a page of quotation marks
)
_HOST_SHARES = frozenset(
    """
    9p drvfs fakeowner fuse.grpcfuse fuse.osxfs fuse.prl_fsd fuse.vmhgfs-fuse grpcfuse hgfs osxfs prl_fs vboxsf virtiofs
    vmhgfs vmhgfs-fuse wslfs
    """.split()  # noqa: SIM905 - a page of quotation marks
)
_LONGEST_PATH = 512 - len("-journal")
"""Bytes; SQLite takes 512, with what it calls the files beside the spool (https://sqlite.org/limits.html)."""

_ELSEWHERE = "Set spool_path or ALIGNAI_SPOOL_PATH to a local disk"


class Mount:
    """What is mounted somewhere."""

    def __init__(self, kind: str, source: str, options: str) -> None:
        self.kind = kind
        self.source = source
        self.options = options


def check_not_network(path: Path) -> None:
    """
    Refuse a spool on a network file system: WAL needs memory that all processes share, so one machine.

    Raises:
        SpoolError: The path is on such a file system.
    """
    mount = _mount_of(path)
    if mount and _is_network(mount):
        raise SpoolError(
            f"spool {path}: this is on a network file system ({mount.kind}), where SQLite's write-ahead log does not "
            f"work. {_ELSEWHERE}."
        )


def host_share(path: Path) -> str | None:
    """Return a warning if the spool is on a share of the machine that this virtual one or container runs on."""
    mount = _mount_of(path)
    if mount is None or mount.kind not in _HOST_SHARES or _is_network(mount):
        return None
    return (
        f"spool {path}: this is a folder that the host shares with this virtual machine or container ({mount.kind}). "
        "Locks and shared memory may not reach from one side to the other: events are lost if processes on both sides "
        f"use the spool, or if the share does not keep what SQLite relies on. {_ELSEWHERE}, a volume for example."
    )


def check_path_length(path: Path) -> None:
    """
    Refuse a path that SQLite does not take.

    Raises:
        SpoolError: It is too long.
    """
    length = len(os.fsencode(path))
    if length > _LONGEST_PATH:
        raise SpoolError(
            f"spool {path}: the path is too long: it has {length} bytes, and SQLite takes {_LONGEST_PATH}. Name a "
            "shorter one by spool_path or ALIGNAI_SPOOL_PATH."
        )


def check_one_name(path: Path | str) -> None:
    """
    Refuse a file that has a second name: SQLite goes by the name, so that each name would get a WAL of its own.

    Raises:
        SpoolError: The file is mounted by itself, or it has a hard link.
    """
    if _name_of(path) in _mounts():
        raise SpoolError(
            f"spool {path}: this file is mounted by itself, so that its write-ahead log would be in another place for "
            "each container, and events would be lost. Mount the folder that the spool is in, not the file."
        )
    with AllowingRefusal():
        if os.stat(path).st_nlink > 1:  # noqa: PTH116 - see paths.py
            raise SpoolError(linked(path))


def linked(path: Path | str) -> str:
    """Say that a file has a hard link."""
    return (
        f"spool {path}: the file has a second name (a hard link), and each name would get a write-ahead log of its "
        f"own, so that events would be lost. Delete the other name (find / -xdev -samefile {path})."
    )


def _is_network(mount: Mount) -> bool:
    kind, _, program = mount.kind.partition(".")
    if kind in {"fuse", "fuseblk"}:
        program = program or re.split(r"[:@#]", mount.source)[0].rpartition("/")[2]
        return program.lower() in _NETWORK_FUSE
    if kind == "9p":  # by it a host shares its folders with a virtual machine, or a server with other machines
        return re.search(r"(^|,)(trans=(virtio|fd|unix|xen|usbg)|aname=drvfs)\b", mount.options) is None
    return kind in _NETWORK or kind in _NETWORK_FUSE


def _mount_of(path: Path) -> Mount | None:
    """Return the mount that holds *path*, if the system tells (Linux)."""
    mounts = _mounts()
    name, parent = b"", _name_of(path)
    while name != parent:
        name, parent = parent, os.path.dirname(parent)  # noqa: PTH120 - bytes, as in the list of mounts
        if name in mounts:
            return mounts[name]
    return None


def _name_of(path: Path | str) -> bytes:
    return os.fsencode(os.path.realpath(path))


def _mounts() -> dict[bytes, Mount]:
    """
    Read what is mounted where; nothing if the system does not tell.

    The names in it are any bytes, with those that would part fields or lines as three octal digits.
    """
    lines: list[bytes] = []
    with AllowingRefusal(), open(MOUNTS, "rb") as file:  # noqa: PTH123 - see paths.py
        lines = file.read().split(b"\n")
    mounts = {}
    for line in lines:
        before, _, after = line.partition(b" - ")
        places, what = before.split(b" "), after.split(b" ")
        if len(places) > 4 and what[0]:  # noqa: PLR2004 - see proc(5)
            kind, source, options = (_as_text(each) for each in (*what, b"", b"")[:3])
            mounts[_unescaped(places[4])] = Mount(kind, source, options)
    return mounts


def _unescaped(name: bytes) -> bytes:
    return re.sub(rb"\\([0-3][0-7]{2})", lambda found: bytes([int(found[1], 8)]), name) if b"\\" in name else name


def _as_text(name: bytes) -> str:
    return _unescaped(name).decode("ascii", "backslashreplace")
