"""The properties of a spool's file: private modes, the application id, a version and one project."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Lease, Spool, SpoolError, SpoolMismatchError, SpoolVersionError
from alignai.spool.ledger import sql
from alignai.spool.storage import format as format_
from alignai.spool.storage import path_checks as mounts_
from tests.support.processes import process
from tests.support.spool_file import ask, payloads, shm, wal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_files_are_for_their_owner_alone_whatever_the_umask(
    tmp_path: Path, umask: Callable[[int], int], mask: int
) -> None:
    path = tmp_path / "new" / "newer" / "spool.db"
    umask(mask)
    spool = Spool(path, project_id="project")
    spool.append(b"event")
    lease = Lease(path)
    lease.acquire()
    umask(0o022)

    files = [path, wal(path), shm(path), path.with_name("spool.db.lease")]
    assert [oct(mode(each)) for each in files] == ["0o600"] * 4
    assert [oct(mode(each)) for each in (path.parent, path.parent.parent)] == ["0o700"] * 2
    lease.release()
    spool.close()


def test_the_modes_of_folders_that_were_there_are_left_as_they_are(path: Path) -> None:
    path.parent.chmod(0o755)
    Spool(path, project_id="project").close()

    assert mode(path.parent) == 0o755


def test_a_new_spool_is_marked_and_can_give_pages_back(spool: Spool, path: Path) -> None:
    assert ask(path, "PRAGMA application_id") == [(sql.APPLICATION_ID,)]
    assert ask(path, "PRAGMA user_version") == [(format_.VERSION,)]
    assert ask(path, "PRAGMA auto_vacuum") == [(2,)]
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]
    assert spool.check() == []


def test_a_newer_version_is_refused_and_not_a_byte_of_it_is_changed(spool: Spool, path: Path) -> None:
    spool.append(b"event")
    spool.close()
    ask(path, f"PRAGMA user_version = {format_.VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(SpoolVersionError, match=rf"format {format_.VERSION + 1}.*up to {format_.VERSION}.*Upgrade"):
        Spool(path, project_id="project")

    assert path.read_bytes() == before
    assert ask(path, "SELECT payload FROM events") == [(b"event",)]


def test_a_spool_belongs_to_one_project(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(project_id="first")
    spool.append(b"event")
    with pytest.raises(SpoolMismatchError, match=r"'first', not to 'second'"):
        open_spool(project_id="second")

    assert payloads(path) == [b"event"]
    assert spool.append(b"event") == 2
    assert spool.check() == []


CREATE = "say('ready')\nhear()\ns = spool()\nsay(s.append(b'event'))\nhear()\ns.close()"


def test_processes_that_create_the_spool_at_the_same_moment_share_it(path: Path) -> None:
    for attempt in range(5):
        fresh = path.with_name(f"{attempt}.db")
        with ExitStack() as stack:
            workers = [stack.enter_context(process(CREATE, fresh)) for _ in range(4)]
            assert [each.hear() for each in workers] == ["ready"] * 4
            for each in workers:
                each.say()
            assert sorted(each.hear() for each in workers) == ["1", "2", "3", "4"]
            for each in workers:
                each.say()
            for each in workers:
                each.end()
        assert ask(fresh, "PRAGMA auto_vacuum") == [(2,)]
        assert ask(fresh, "SELECT count(*) FROM spool") == [(1,)]
    assert list(path.parent.glob("*.corrupt-*")) == []


def test_migrations_from_every_version_keep_all_rows(
    spool: Spool, path: Path, open_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append(b"old")
    spool.close()
    scripts = (
        *format_.MIGRATIONS,
        "ALTER TABLE spool ADD COLUMN note TEXT; -- a comment; with a semicolon\nUPDATE spool SET note = 'a;b';",
        "CREATE TABLE more (value);",
    )
    monkeypatch.setattr(format_, "MIGRATIONS", scripts)
    monkeypatch.setattr(format_, "VERSION", len(scripts))
    spool = open_spool()

    assert ask(path, "PRAGMA user_version") == [(3,)]
    assert ask(path, "SELECT note FROM spool") == [("a;b",)]
    assert ask(path, "SELECT * FROM more") == []
    assert spool.append(b"new") == 2
    assert payloads(path) == [b"old", b"new"]
    assert spool.check() == []


def test_a_migration_that_fails_leaves_the_spool_as_it_was(
    spool: Spool, path: Path, open_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append(b"old")
    spool.close()
    with monkeypatch.context() as patch:
        patch.setattr(format_, "MIGRATIONS", (*format_.MIGRATIONS, "CREATE TABLE half (value); CREATE NONSENSE;"))
        patch.setattr(format_, "VERSION", 2)
        with pytest.raises(SpoolError):
            open_spool()

    assert ask(path, "PRAGMA user_version") == [(1,)]
    assert ask(path, "SELECT name FROM sqlite_schema WHERE name = 'half'") == []
    assert open_spool().append(b"new") == 2


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /net rw,relatime shared:2 - {kind} server:/export rw
31 22 0:41 / /net/local rw,relatime - ext4 /dev/sdb1 rw
32 22 0:42 / /with\\040blank rw,relatime - {kind} server:/other rw
33 22 0:43 / /network rw,relatime - ext4 /dev/sdc1 rw
"""


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def mount(kind: str) -> None:
        (tmp_path / "mountinfo").write_text(MOUNTS.format(kind=kind))
        monkeypatch.setattr(mounts_, "MOUNTS", tmp_path / "mountinfo")

    return mount


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"])
@pytest.mark.parametrize("name", ["/net/spool.db", "/net/deep/er/spool.db", "/with blank/spool.db"])
def test_a_network_file_system_is_refused_and_the_remedy_named(
    mounts: Callable[[str], None], kind: str, name: str
) -> None:
    from pathlib import Path

    mounts(kind)
    with pytest.raises(SpoolError, match=rf"network file system \({kind}\).*ALIGNAI_SPOOL_PATH to a local disk"):
        mounts_.check_not_network(Path(name))


@pytest.mark.parametrize("name", ["/spool.db", "/net/local/spool.db", "/network/spool.db"])
def test_a_local_file_system_is_not(mounts: Callable[[str], None], name: str) -> None:
    from pathlib import Path

    mounts("nfs4")
    mounts_.check_not_network(Path(name))


def test_a_spool_asks_before_it_makes_anything(mounts: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    mounts("nfs4")
    with pytest.raises(SpoolError, match="network file system"):
        Spool(Path("/net/spool.db"), project_id="project")
    assert not Path("/net/spool.db").exists()


def test_nothing_is_refused_if_the_system_does_not_list_its_mounts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts_, "MOUNTS", path)
    mounts_.check_not_network(path)


def test_a_link_that_leads_in_a_circle_is_an_error(path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(SpoolError, match="cannot be opened"):
        Spool(path, project_id="project")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_an_error_that_says_so(path: Path) -> None:
    path.parent.chmod(0o500)
    with pytest.raises(SpoolError, match="check"):
        Spool(path, project_id="project")
    path.parent.chmod(0o700)


def test_a_spool_whose_path_has_odd_characters_works(tmp_path: Path) -> None:
    path = tmp_path / "what? 100% #1 & é 🚀.db"
    spool = Spool(path, project_id="project")
    spool.append(b"event")

    assert spool.check() == []
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".db")] == [path.name]
    spool.close()


def test_errors_have_a_name_of_the_spools_own() -> None:
    from alignai.spool import SpoolBusyError, SpoolCorruptError, SpoolFullError
    from alignai.spool.errors import from_sqlite_error

    kinds = {
        sqlite3.SQLITE_BUSY: SpoolBusyError,
        sqlite3.SQLITE_FULL: SpoolFullError,
        sqlite3.SQLITE_CORRUPT: SpoolCorruptError,
        sqlite3.SQLITE_NOTADB: SpoolCorruptError,
        sqlite3.SQLITE_IOERR: SpoolError,
        0: SpoolError,
    }
    for code, kind in kinds.items():
        error = sqlite3.OperationalError("what SQLite says")
        error.sqlite_errorcode = code
        assert type(from_sqlite_error(error, "PATH")) is kind
        assert str(from_sqlite_error(error, "PATH")).startswith("spool PATH: what SQLite says - ")


def test_an_empty_database_without_the_application_id_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 7")
    with pytest.raises(SpoolMismatchError):
        Spool(path, project_id="project")
