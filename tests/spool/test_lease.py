"""One process uploads at a time."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Lease, SpoolError
from tests.support.processes import process, run
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
lease = Lease(PATH)
say(lease.acquire(), lease.held)
while hear() != 'release': say(lease.acquire(), lease.held)
lease.release()
say(lease.held)
hear()
"""


def test_of_two_processes_one_holds_the_lease(path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(process(HOLD, path))
        assert first.hear() == "True True"
        second = stack.enter_context(process(HOLD, path))
        assert second.hear() == "False False"
        assert first.ask() == "True True"
        assert second.ask() == "False False"
        assert first.ask("release") == "False"
        assert second.ask() == "True True"


def test_the_death_of_its_holder_frees_the_lease(path: Path) -> None:
    lease = Lease(path)
    with process(HOLD, path) as holder:
        assert holder.hear() == "True True"
        assert lease.acquire() is False
        holder.kill()
        wait_until(lease.acquire)
    assert lease.held
    lease.release()


def test_two_leases_in_one_process_are_two(path: Path) -> None:
    one, two = Lease(path), Lease(path)

    assert (one.acquire(), two.acquire()) == (True, False)
    assert (one.held, two.held) == (True, False)
    two.release()
    assert one.held
    one.release()
    assert two.acquire()
    two.release()


def test_giving_back_what_is_not_held_does_no_harm(path: Path) -> None:
    lease = Lease(path)
    lease.release()

    assert lease.acquire()
    assert lease.acquire()
    lease.release()
    assert not lease.held
    with process(HOLD, path) as other:
        assert other.hear() == "True True"


FORK = """
lease = Lease(PATH)
assert lease.acquire()
heard, told = os.pipe()
pid = os.fork()
if not pid:
    assert not lease.held
    other = Lease(PATH)
    assert not other.acquire()
    del lease
    import gc; gc.collect()
    os.write(told, b'.')
    hear()
    os._exit(0)
os.read(heard, 1)
assert lease.held and not Lease(PATH).acquire()
say('dies')
os._exit(0)
"""


def test_a_forked_child_does_not_keep_its_parents_lease(path: Path) -> None:
    lease = Lease(path)
    with process(FORK, path) as family:
        assert family.hear() == "dies"
        wait_until(lease.acquire)  # the child is still there
        lease.release()
        family.say()


def test_a_childs_end_does_not_give_back_the_parents_lease(path: Path) -> None:
    script = """
lease = Lease(PATH)
assert lease.acquire()
pid = os.fork()
if not pid:
    lease.release()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
say(lease.held)
hear()
"""
    with process(script, path) as parent:
        assert parent.hear() == "True"
        assert not Lease(path).acquire()


def test_a_lease_that_cannot_be_taken_is_an_error_that_says_what_to_do(path: Path) -> None:
    lease_file = path.with_name("spool.db.lease")
    lease_file.mkdir()
    lease = Lease(path)
    with pytest.raises(SpoolError) as caught:
        lease.acquire()

    assert str(caught.value) == (
        f"cannot lock {lease_file}: Is a directory. Until it can, this process does not upload, but events are still "
        "recorded. Check the file, the permissions of its folder and the disk."
    )
    assert not lease.held
    lease_file.rmdir()
    assert lease.acquire()
    lease.release()


def test_the_lease_is_a_file_of_its_own(path: Path) -> None:
    lease = Lease(path)
    lease.acquire()

    assert [each.name for each in path.parent.iterdir()] == ["spool.db.lease"]
    assert path.with_name("spool.db.lease").stat().st_mode & 0o777 == 0o600
    lease.release()


def test_the_lease_of_a_spool_that_is_reached_through_a_link_is_the_same(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    script = "s = spool()\nlease = Lease(s.path)\nsay(lease.acquire())\nhear()\ns.close()"
    with process(script, path) as holder:
        assert holder.hear() == "True"
        assert run("s = spool()\nsay(Lease(s.path).acquire())\ns.close()", tmp_path / "link.db") == "False"
        holder.say()
        holder.end()


UNHOOKED = """
hooks = []
add = sys.addaudithook
sys.addaudithook = lambda hook: hooks.append(hook) if hook.__module__.startswith('filelock') else add(hook)
say('filelock' in sys.modules)
assert Lease(PATH).acquire()
say('filelock' in sys.modules, hooks)
"""


def test_filelock_is_imported_on_first_use_and_adds_no_audit_hook(path: Path) -> None:
    """Python 3.11 never had that hook. The next test checks its effects on other versions."""
    assert run(UNHOOKED, path).split("\n") == ["False", "True []"]


FORKING_THREADS = """
import threading, warnings
warnings.simplefilter('ignore')
lease = Lease(PATH)
lease.acquire()
errors, start = [], threading.Barrier(2)
def fork():
    start.wait()
    for _ in range(50):
        try:
            pid = os.fork()
            if not pid: os._exit(0)
            os.waitpid(pid, 0)
        except RuntimeError as error:
            errors.append(error)
threads = [threading.Thread(target=fork) for _ in range(2)]
for each in threads: each.start()
for each in threads: each.join()
say(errors, lease.held)
"""


def test_threads_of_the_lease_holder_may_fork_at_the_same_time(path: Path) -> None:
    assert run(FORKING_THREADS, path) == "[] True"
