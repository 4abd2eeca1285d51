"""Forks at the worst moments: while a connection is being opened, and while a signal handler raises in the hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.processes import run

if TYPE_CHECKING:
    from pathlib import Path

WHILE_OPENING = """
import signal, threading
from alignai.spool.storage import preparation, quarantine, readonly
s = spool()
s.append(b'before')
inside, forked = threading.Event(), threading.Event()
def in_the_midst(module, name):
    real = getattr(module, name)
    def slow(*args, **kwargs):
        inside.set()
        forked.wait(1)
        return real(*args, **kwargs)
    setattr(module, name, slow)
def look():
    with readonly.open_readonly(PATH): pass
module, name, act = {
    'a construction': (preparation, 'verify', lambda: spool().close()),
    'the first use': (preparation, 'verify', lambda: s.append(b'thread')),
    'a second look at damage': (quarantine, 'missing', lambda: s._database.quarantine_if_corrupt()),
    'a look': (readonly, 'verify', look),
}[sys.argv[2]]
if sys.argv[2] == 'the first use':
    s._database.suspend(); s._database.resume()
in_the_midst(module, name)
thread = threading.Thread(target=act)
thread.start()
assert inside.wait(30)
pid = os.fork()
if not pid:
    signal.alarm(30)
    descriptors = [os.readlink(each) for each in Path('/proc/self/fd').iterdir() if each.exists()]
    # A look at the WAL may have it open for a moment, without SQLite and any lock. A connection has the file open.
    assert not [each for each in descriptors if 'spool.db' in each and not each.endswith('-wal')], descriptors
    s.append(b'child')
    spool().append(b'child')
    os._exit(0)
forked.set()
assert os.waitpid(pid, 0)[1] == 0
thread.join(30)
s.append(b'after')
say(s.check(), list(s.notices()))
s.close()
"""


@pytest.mark.parametrize("moment", ["a construction", "the first use", "a second look at damage", "a look"])
def test_no_connection_that_another_thread_is_opening_crosses_a_fork(path: Path, moment: str) -> None:
    assert run(WHILE_OPENING, path, moment) == "[] []"


CONSTRUCTING = """
import signal, threading
s = spool()
stop = threading.Event()
def make():
    while not stop.is_set():
        each = spool()
        each.append(b'made')
        each.close()
thread = threading.Thread(target=make)
thread.start()
ends = []
for _ in range(60):
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        spool().append(b'child')
        os._exit(0)
    ends.append(os.waitpid(pid, 0)[1])
stop.set()
thread.join()
say(set(ends), s.check(), list(s.notices()))
s.close()
"""


def test_children_of_a_process_that_constructs_spools_all_the_time_work(path: Path) -> None:
    assert run(CONSTRUCTING, path) == "{0} [] []"


INTERRUPTED = """
import random, signal, threading
sys.path.insert(0, os.getcwd())
from tests.support.interrupts import Interrupter
sys.unraisablehook = lambda unraisable: None  # Python prints what a hook raises, and goes on
s = spool()
other = spool()
children = at = 0
interrupted = True
rng = random.Random(3)
while interrupted:
    at += rng.randrange(1, 9)
    s.append(b'before')
    with Interrupter(at) as interrupter:
        pid = os.fork()
    if not pid:
        signal.alarm(30)
        thread = threading.Thread(target=lambda: s.append(b'child'))
        thread.start()
        thread.join()
        other.append(b'child')
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0, interrupter.where
    children += 1
    interrupted = bool(interrupter.where)
    thread = threading.Thread(target=lambda: s.append(b'after'), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), interrupter.where
    s.stats()
say(children > 10, s.last_seq() == 4 * children, s.check(), list(s.notices()))
other.close()
s.close()
"""


def test_an_interrupted_fork_hook_leaves_no_lock_and_a_working_child(path: Path) -> None:
    assert run(INTERRUPTED, path) == "True True [] []"


RECORDING_ON_TOP = """
import signal, threading
signal.alarm(30)  # a deadlock ends the process
s = spool()
other = spool()
s.append(b'before')
def fork():
    pid = os.fork()
    if not pid: os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
act = {
    'fork': fork,
    'close': lambda: other.close(),
    'recover': lambda: s._database.recover(),
    'recover another': lambda: other._database.recover(),
    'replace': lambda: s._database.quarantine_if_corrupt(),
    'construct': lambda: spool().close(),
}[sys.argv[2]]
with s._database.reading() as db:  # as in `stats`, when a finaliser or a signal handler records on top of it
    db.execute('SELECT count(*) FROM spool').fetchone()
    thread = threading.Thread(target=act)
    thread.start()
    thread.join(0.2)
    s.append(b'on top')
    other.append(b'on top') if sys.argv[2] != 'close' else None
thread.join()
s.append(b'after')
say(s.check())
s.close()
"""


@pytest.mark.parametrize("act", ["fork", "close", "recover", "recover another", "replace", "construct"])
def test_append_inside_a_read_does_not_wait_for_other_readers(path: Path, act: str) -> None:
    assert run(RECORDING_ON_TOP, path, act) == "[]"
