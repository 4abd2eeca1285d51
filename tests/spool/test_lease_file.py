"""The lease is a lock on a file that anyone may delete, and that root may make for others."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from alignai.cli.app import main
from alignai.spool import Lease
from alignai.spool.holder import is_held
from alignai.spool.inspection import inspect
from tests.support.processes import process, run
from tests.support.waiting import wait_until

NOBODY = 65534


def lease_file(path: Path) -> Path:
    return path.with_name(path.name + ".lease")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_lease_whose_file_is_gone_is_no_longer_held(path: Path, replaced: bool) -> None:
    lease, other = Lease(path), Lease(path)
    assert lease.acquire()
    lease_file(path).unlink()
    if replaced:
        assert other.acquire()

    assert not lease.held
    assert lease.acquire() is not replaced
    assert (lease.held, other.held) == (not replaced, replaced)
    other.release()
    assert lease.acquire()
    lease.release()


def test_a_lost_lease_is_released_before_it_is_taken_again(path: Path) -> None:
    lease = Lease(path)
    assert lease.acquire()
    lease_file(path).rename(path.with_name("elsewhere"))
    other = Lease(path)
    assert other.acquire()
    assert not lease.acquire()
    path.with_name("elsewhere").replace(lease_file(path))
    assert lease.acquire(), "nothing of the first lock is left on the file"
    lease.release()


def test_the_holder_touches_the_file_now_and_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(path)
    assert lease.acquire()
    assert lease.held
    os.utime(lease_file(path), (0, 0))
    assert lease.held
    assert lease_file(path).stat().st_mtime == 0
    monkeypatch.setattr("alignai.spool.lease._TOUCH_SECONDS", 0.0)
    assert lease.held
    assert lease_file(path).stat().st_mtime > time.time() - 3600
    lease.release()


# -- looking -----------------------------------------------------------------------------------------------------------


def test_looking_whether_it_is_held_makes_no_file(path: Path) -> None:
    assert is_held(path) is False
    assert not lease_file(path).exists()
    lease = Lease(path)
    assert lease.acquire()
    assert is_held(path) is True
    lease.release()
    assert is_held(path) is False


def test_looking_at_the_lease_prevents_no_process_from_taking_it(path: Path) -> None:
    Lease(path).release()
    lease = Lease(path)
    looks = "import threading\nfrom alignai.spool.holder import is_held\nsay('looks')\nwhile True: is_held(PATH)"
    with process(looks, path) as looker:
        looker.hear()
        refused = 0
        for _ in range(200):
            refused += not lease.acquire()
            lease.release()
        looker.kill()
    assert refused < 10, "who is refused tries again a second later"


HOLD = """
import socket
s, lease = spool(), Lease(PATH)
assert lease.acquire()
s.note_lease(socket.gethostname())
s.append(b'event')
say(os.getpid())
hear()
"""


def state(path: Path) -> tuple[object, object]:
    lease = inspect(str(path))["lease"]
    return lease["alive"], lease["state"]


def test_inspect_tells_a_holder_that_is_stopped(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with process(HOLD, path) as holder:
        pid = int(holder.hear())
        assert state(path) == (True, "running")
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state(path) == (True, "stopped"))
        assert main(["inspect", str(path)]) == 0
        assert "stopped: nothing is uploaded until" in " ".join(capsys.readouterr().out.split())
        os.kill(pid, signal.SIGCONT)
        holder.kill()
    assert state(path) == (False, "dead")


def test_inspect_does_not_take_a_reused_process_id_for_the_holder(path: Path) -> None:
    script = "import socket\ns = spool()\ns.note_lease(socket.gethostname())\n"
    script += "s.close()\n"
    script += f"sqlite3.connect(PATH, isolation_level=None).execute('UPDATE spool SET lease_pid = {os.getpid()}')"
    run(script, path)
    assert state(path) == (False, "dead")


@pytest.mark.skipif(sys.platform != "linux", reason="the child is found in /proc")
def test_inspect_tells_a_lease_that_a_child_of_the_dead_holder_keeps(path: Path) -> None:
    """C code forks without Python's hooks, which close the child's copy."""
    script = HOLD.replace(
        "say(os.getpid())", "import ctypes\nif not ctypes.CDLL(None).fork():\n    time.sleep(600)\nsay(os.getpid())"
    )
    with process(script, path) as holder:
        pid = int(holder.hear())
        (child,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        holder.kill()
        try:
            assert state(path) == (False, "left behind")
        finally:
            os.kill(child, signal.SIGKILL)
    wait_until(lambda: state(path) == (False, "dead"))


# -- as root -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def owned(path: Path) -> Path:
    """A spool in the folder of a user without rights."""
    if not hasattr(os, "geteuid") or os.geteuid():
        pytest.skip("only root can make files for others")
    path.parent.mkdir(parents=True, exist_ok=True)
    os.chown(path.parent, NOBODY, NOBODY)
    return path.parent / "new" / "spool.db"


def test_files_that_root_makes_belong_to_the_owner_of_the_folder(owned: Path) -> None:
    script = "s, lease = spool(), Lease(PATH)\nassert lease.acquire()\ns.append(b'event')\nsay('open')\nhear()"
    with process(script, owned) as root:
        assert root.hear() == "open"
        made = {each.name: each.stat().st_uid for each in [owned.parent, *owned.parent.iterdir()]}
    assert {"spool.db", "spool.db-wal", "spool.db-shm", "spool.db.lease"} <= set(made)
    assert set(made.values()) == {NOBODY}


def test_files_that_root_salvages_belong_to_the_owner_of_the_folder(owned: Path) -> None:
    run("s = spool()\ns.append(b'event')\ns.close()", owned)
    saved = owned.with_name("saved.db")
    assert main(["salvage", str(owned), str(saved)]) == 0
    assert saved.stat().st_uid == NOBODY


def test_the_lease_that_root_makes_belongs_to_the_owner_of_the_spool(owned: Path) -> None:
    run("s = spool()\ns.append(b'event')\ns.close()", owned)
    os.chown(owned.parent, 0, 0)
    lease = Lease(owned)
    assert lease.acquire()
    assert lease_file(owned).stat().st_uid == NOBODY
    lease.release()
