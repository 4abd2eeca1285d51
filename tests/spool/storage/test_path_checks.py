"""The paths at which a spool may be, and the errors at other paths."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolError
from alignai.spool.errors import from_sqlite_error
from alignai.spool.storage import path_checks
from tests.support.waiting import wait_until_verification_is_due

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OBJECT_STORES = ["s3fs", "gcsfuse", "rclone", "goofys", "mount-s3", "blobfuse2"]


@pytest.fixture
def mounted(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say that the folder of the spool is a mount of some kind."""

    def mount(kind: str, source: str = "source", options: str = "rw") -> None:
        lines = f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:40 / {path.parent} rw - {kind} {source} {options}\n"
        (tmp_path / "mountinfo").write_text(lines)
        monkeypatch.setattr(path_checks, "MOUNTS", tmp_path / "mountinfo")

    return mount


@pytest.mark.parametrize(
    ("kind", "source", "options"),
    [
        *((kind, "x", "rw") for kind in ("nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "glusterfs", "beegfs")),
        *((f"fuse.{name}", "x", "rw") for name in (*OBJECT_STORES, "ceph-fuse", "juicefs", "sshfs", "glusterfs")),
        ("fuse.JuiceFS", "JuiceFS:name", "rw"),
        ("fuse", "mountpoint-s3", "rw"),
        ("fuse", "s3fs", "rw"),
        ("fuse", "gcsfuse#bucket", "rw"),
        ("fuse", "JuiceFS:name", "rw"),
        ("9p", "10.0.0.1", "rw,trans=tcp,port=564"),
    ],
)
def test_network_file_systems_are_refused(
    mounted: Callable[..., None], path: Path, kind: str, source: str, options: str
) -> None:
    mounted(kind, source, options)
    with pytest.raises(SpoolError, match=r"network file system.*ALIGNAI_SPOOL_PATH to a local disk"):
        Spool(path, project_id="project")
    assert not path.exists()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *(
            (kind, "rw")
            for kind in ("virtiofs", "vboxsf", "prl_fs", "fakeowner", "osxfs", "fuse.osxfs", "fuse.grpcfuse")
        ),
        *((kind, "rw") for kind in ("hgfs", "vmhgfs", "fuse.vmhgfs-fuse", "drvfs")),
        ("9p", "rw,aname=drvfs;path=C:\\134,trans=fd,rfd=3,wfd=3"),
        ("9p", "rw,trans=virtio"),
    ],
)
def test_shares_of_the_host_are_warned_of_once(
    mounted: Callable[..., None], path: Path, open_spool: Callable[..., Spool], kind: str, options: str
) -> None:
    mounted(kind, "source", options)
    spool = open_spool()
    spool.append(b"event")
    spool.maintain()

    (notice,) = spool.notices()
    assert kind in notice
    assert "local disk" in notice
    assert notice.allowed


@pytest.mark.parametrize("kind", ["ext4", "xfs", "overlay", "tmpfs", "zfs", "fuseblk", "fuse.mergerfs", "apfs"])
def test_nothing_is_said_of_other_file_systems(
    mounted: Callable[..., None], open_spool: Callable[..., Spool], kind: str
) -> None:
    mounted(kind)
    assert list(open_spool().notices()) == []


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"\n\n",
        b"22",
        b"22 1 8:1 / /",
        b"22 1 8:1 / / rw -",
        b"22 1 8:1 / / rw - ",
        b" - - - \n - ",
        b"22 1 8:1 / /\xff\xfe\x80 rw - ext4 \xff rw",
        b"22 1 8:1 / /\\777\\9x\\ rw - e\\040xt4 \xe4 rw",
        b"\x00\x01\xff" * 100,
        b"22 1 8:1 / /x rw - " + bytes(range(256)),
    ],
)
def test_a_mount_table_of_any_bytes_is_read(
    tmp_path: Path, open_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch, table: bytes
) -> None:
    (tmp_path / "mountinfo").write_bytes(table)
    monkeypatch.setattr(path_checks, "MOUNTS", tmp_path / "mountinfo")
    assert open_spool().append(b"event") == 1


@pytest.mark.parametrize("name", [b"new\nline", b"tab\t", b"back\\slash", b"\xff\xfe", "schön".encode(), b"# hash"])
def test_mounts_are_found_whatever_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    folder = os.fsencode(tmp_path) + b"/" + name
    escaped = folder
    for each in b"\\ \t\n#":
        escaped = escaped.replace(bytes([each]), b"\\%03o" % each) if each != 0x5C else escaped.replace(b"\\", b"\\134")
    (tmp_path / "mountinfo").write_bytes(b"22 1 8:1 / / rw - ext4 x rw\n30 22 0:40 / " + escaped + b" rw - nfs4 x rw\n")
    monkeypatch.setattr(path_checks, "MOUNTS", tmp_path / "mountinfo")
    with pytest.raises(SpoolError, match="network file system"):
        path_checks.check_not_network(Path(os.fsdecode(folder)) / "spool.db")
    path_checks.check_not_network(tmp_path / "spool.db")


def test_the_last_of_several_mounts_in_one_place_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = f"30 22 0:40 / {tmp_path} rw - nfs4 x rw\n31 30 0:41 / {tmp_path} rw - ext4 x rw\n"
    (tmp_path / "mountinfo").write_text(table)
    monkeypatch.setattr(path_checks, "MOUNTS", tmp_path / "mountinfo")
    path_checks.check_not_network(tmp_path / "spool.db")


def test_a_path_that_is_too_long_for_sqlite_is_a_clear_error(tmp_path: Path) -> None:
    folder = tmp_path
    while len(str(folder)) < 400:
        folder /= "f" * 50
    name = "n" * (504 - len(str(folder)) - 1)
    spool = Spool(folder / name, project_id="project")
    assert spool.append(b"event") == 1
    spool.close()
    with pytest.raises(SpoolError, match="too long: it has 505 bytes, and SQLite takes 504"):
        Spool(folder / f"{name}n", project_id="project")


@pytest.mark.parametrize(
    ("name", "code", "hint"),
    [
        ("SQLITE_PROTOCOL", 15, "locks do not work"),
        ("SQLITE_IOERR_SHMMAP", 5386, "shared memory"),
        ("SQLITE_IOERR_SHMOPEN", 4618, "shared memory"),
        ("SQLITE_IOERR_SHMLOCK", 5130, "shared memory"),
        ("SQLITE_IOERR_LOCK", 3850, "local disk"),
        ("SQLITE_IOERR_WRITE", 778, "the disk reports an error"),
        ("SQLITE_CANTOPEN", 14, "cannot be opened"),
    ],
)
def test_errors_of_the_file_system_have_messages_of_their_own(name: str, code: int, hint: str) -> None:
    error = sqlite3.OperationalError("words")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    message = str(from_sqlite_error(error, "P"))
    assert f"words ({name})" in message
    assert hint in message


@pytest.fixture
def adapter() -> Iterator[Callable[[type], None]]:
    """Return a function that registers an adapter for a type. It is removed at the end of the test."""
    before = dict(sqlite3.adapters)
    yield lambda kind: sqlite3.register_adapter(kind, lambda value: f"adapted {value}")  # type: ignore[arg-type]
    sqlite3.adapters.clear()
    sqlite3.adapters.update(before)


@pytest.mark.parametrize("kind", [str, bytes, float, int])
def test_a_global_adapter_is_one_clear_error(
    path: Path, open_spool: Callable[..., Spool], adapter: Callable[[type], None], kind: type
) -> None:
    spool = open_spool()
    spool.append(b"event")
    adapter(kind)
    with pytest.raises(SpoolError, match=rf"register_adapter\({kind.__name__}, \.\.\.\)"):
        Spool(path, project_id="project")
    wait_until_verification_is_due()
    with pytest.raises(SpoolError, match=rf"register_adapter\({kind.__name__}, \.\.\.\)"):
        spool.append(b"more")


def test_adapters_of_other_classes_are_none_of_our_business(
    open_spool: Callable[..., Spool], adapter: Callable[[type], None]
) -> None:
    adapter(Path)
    assert open_spool().append(b"event") == 1
