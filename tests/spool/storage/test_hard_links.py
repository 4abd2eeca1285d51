"""A file with a second name would get a WAL for each name, so a spool refuses such a file."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool, SpoolError
from alignai.spool.storage import path_checks
from alignai.spool.storage.readonly import open_readonly
from tests.support.processes import BEGIN, ROOT
from tests.support.spool_file import payloads, shm, wal
from tests.support.waiting import wait_until_verification_is_due

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPENS = "try: say(spool().append(b'theirs'))\nexcept SpoolError as error: say(error)"


def test_a_hard_link_is_refused_under_both_names(path: Path, open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    spool.append(b"event")
    other = path.with_name("other.db")
    os.link(path, other)

    with pytest.raises(SpoolError, match=r"second name.*Delete the other name"):
        Spool(other, project_id="project")
    with pytest.raises(SpoolError, match="second name"), open_readonly(other):
        pass
    assert not wal(other).exists()
    assert not shm(other).exists()
    with pytest.raises(SpoolError, match="second name"):
        spool.next_batch(10, 1 << 20)
    with pytest.raises(SpoolError, match="second name"):
        spool.maintain()
    wait_until_verification_is_due()
    with pytest.raises(SpoolError, match="second name"):
        spool.append(b"more")

    other.unlink()
    assert spool.append(b"more") == 2
    assert payloads(path) == [b"event", b"more"]
    assert list(spool.notices()) == spool.check() == []


def test_a_symbolic_link_is_the_same_name(path: Path, open_spool: Callable[..., Spool]) -> None:
    open_spool().append(b"event")
    link = path.with_name("link.db")
    link.symlink_to(path)
    spool = Spool(link, project_id="project")
    assert spool.append(b"more") == 2
    spool.close()


def test_a_file_that_is_a_mount_is_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(f"22 1 8:1 / / rw - ext4 x rw\n30 22 8:1 /srv/x {path} rw - ext4 x rw\n")
    monkeypatch.setattr(path_checks, "MOUNTS", tmp_path / "mountinfo")
    path.touch()
    with pytest.raises(SpoolError, match=r"mounted by itself.*Mount the folder"):
        Spool(path, project_id="project")
    assert not wal(path).exists()


def test_a_container_that_mounts_only_the_file_is_refused(path: Path, tmp_path: Path) -> None:
    spool = Spool(path, project_id="project")
    spool.append(b"event")
    inside = tmp_path / "inside"
    inside.mkdir()
    mount = (
        f'mount -t tmpfs tmpfs "{inside}" && touch "{inside}/spool.db" && '
        f'mount --bind "{path}" "{inside}/spool.db" && exec "$@"'
    )
    command = [sys.executable, "-c", BEGIN + OPENS, str(inside / "spool.db")]
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        pytest.skip(f"no mounts of our own here: {ran.stderr.strip()}")
    assert "mounted by itself" in ran.stdout
    assert spool.append(b"more") == 2
    spool.close()
    assert payloads(path) == [b"event", b"more"]
