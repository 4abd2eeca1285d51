"""Nothing of SQLite crosses a fork: parent and child both append, and neither harms the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.processes import run
from tests.support.spool_file import ask, payloads, wal

if TYPE_CHECKING:
    from pathlib import Path

BOTH_APPEND = """
s = spool(synchronous=sys.argv[2])
s.append(b'before')
pid = os.fork()
if not pid:
    s.append(b'child')
    assert s.check() == []
    s.close() if sys.argv[3] == 'close' else None
    os._exit(0) if sys.argv[3] == 'hard' else sys.exit(0)
s.append(b'parent')
assert os.waitpid(pid, 0)[1] == 0
for _ in range(100): s.append(b'after')
say(s.last_seq(), s.check(), list(s.notices()))
s.close()
"""


@pytest.mark.parametrize("synchronous", ["normal", "full"])
@pytest.mark.parametrize("end", ["close", "exit", "hard"])
def test_the_end_of_a_child_that_appends_does_not_harm_the_parent(path: Path, synchronous: str, end: str) -> None:
    assert run(BOTH_APPEND, path, synchronous, end) == "103 [] []"
    assert payloads(path)[0] == b"before"
    assert sorted(payloads(path)[1:]) == sorted([b"child", b"parent", *[b"after"] * 100])


NOTHING_CROSSES = """
s = spool()
s.append(b'before')
links = s._database.opened
pid = os.fork()
if not pid:
    assert s._database.opened is None
    assert not [name for fd in os.listdir('/proc/self/fd') for name in [link(fd)] if 'spool.db' in name]
    os._exit(0)
say(os.waitpid(pid, 0)[1])
s.close()
"""


def test_no_descriptor_of_the_spool_crosses_a_fork(path: Path) -> None:
    link = """
def link(fd):
    try: return os.readlink(f'/proc/self/fd/{fd}')
    except OSError: return ''
"""
    assert run(link + NOTHING_CROSSES, path) == "0"


WHILE_APPENDING = """
import signal, threading
s = spool(synchronous=sys.argv[2])
stop = threading.Event()
appended = [0, 0]
def work(number):
    while not stop.is_set():
        s.append(b'thread')
        appended[number] += 1
        if not appended[number] % 20:
            s.stats()
            batch = s.next_batch(10, 1 << 20) if number else None
            if batch: s.mark_failed(batch, 'error')
            s.maintain()
threads = [threading.Thread(target=work, args=[number]) for number in range(2)]
for each in threads: each.start()
for _ in range(50):
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        s.append(b'child')
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for each in threads: each.join()
say(sum(appended) + 50 == s.last_seq(), s.check(), list(s.notices()))
s.close()
"""


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_fifty_forks_while_threads_append_neither_hang_nor_lose_events(path: Path, synchronous: str) -> None:
    assert run(WHILE_APPENDING, path, synchronous) == "True [] []"
    assert ask(path, "SELECT count(*) FROM events WHERE payload = ?", b"child") == [(50,)]


WITHOUT_HOOKS = """
import ctypes, threading
s = spool(synchronous=sys.argv[2])
s.append(b'before')
parents = [s._database.opened]
pid = ctypes.PyDLL(None).fork()
if not pid:
    doings = {
        'append': lambda: s.append(b'child'),
        'maintain': lambda: s.maintain(),
        'stats': lambda: s.stats(),
        'mark': lambda: s.note_lease('host'),
        'close': lambda: s.close(),
    }
    s._database.write_mutex = s._database.read_mutex = None  # no lock of the parent's may be waited for
    doings[sys.argv[3]]()
    if sys.argv[3] != 'close':
        assert s._database.opened not in parents
        threads = [threading.Thread(target=s.append, args=[b'thread']) for _ in range(4)]
        for each in threads: each.start()
        for each in threads: each.join()
        s.append(b'child')
        assert s.check() == []
    assert parents[0].append.execute('SELECT 1').fetchone() == (1,)  # not closed
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
for _ in range(100): s.append(b'after')
say(s.last_seq(), s.check(), list(s.notices()))
s.close()
"""


@pytest.mark.parametrize("synchronous", ["normal", "full"])
@pytest.mark.parametrize(
    ("first", "appended"), [("append", 107), ("maintain", 106), ("stats", 106), ("mark", 106), ("close", 101)]
)
def test_a_fork_by_c_code_is_noticed_whatever_the_child_does_first(
    path: Path, synchronous: str, first: str, appended: int
) -> None:
    assert run(WITHOUT_HOOKS, path, synchronous, first) == f"{appended} [] []"
    assert wal(path).exists()


MANY_THREADS = """
import ctypes, signal, threading
sys.setswitchinterval(1e-6)
s = spool(synchronous=sys.argv[2])
for _ in range(20):
    s.append(b'before')
    pid = ctypes.PyDLL(None).fork()
    if not pid:
        signal.alarm(20)
        start = threading.Barrier(8)
        def work():
            start.wait()
            s.append(b'thread')
        threads = [threading.Thread(target=work) for _ in range(8)]
        for each in threads: each.start()
        for each in threads: each.join()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
say(s.last_seq(), s.check())
s.close()
"""


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_after_a_fork_by_c_code_concurrent_threads_all_reset(path: Path, synchronous: str) -> None:
    assert run(MANY_THREADS, path, synchronous) == "180 []"


MULTIPROCESSING = """
import multiprocessing
def work(number):
    for i in range(50): s.append(b'%d %d' % (number, i))
if __name__ == '__main__':
    s = spool()
    s.append(b'0 0')
    context = multiprocessing.get_context('fork')
    children = [context.Process(target=work, args=[number]) for number in range(1, 5)]
    for each in children: each.start()
    for each in children: each.join()
    say([each.exitcode for each in children], s.last_seq(), s.check())
    s.close()
"""


def test_multiprocessing_workers_share_the_spool_of_their_parent(path: Path) -> None:
    assert run(MULTIPROCESSING, path) == "[0, 0, 0, 0] 201 []"


GRANDCHILD = """
s = spool()
def below(depth):
    s.append(b'%d' % depth)
    if depth:
        pid = os.fork()
        if not pid:
            below(depth - 1)
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        s.append(b'after')
below(4)
say(s.last_seq(), s.check())
"""


def test_a_child_may_fork_again(path: Path) -> None:
    assert run(GRANDCHILD, path) == "9 []"


def test_a_fork_appends_nothing_twice_that_was_sent_and_deleted_meanwhile(path: Path) -> None:
    script = """
s = spool(retention=0)
for _ in range(10): s.append(b'event')
s.mark_sent(s.next_batch(100, 1 << 20))
s._maintenance._prune()
pid = os.fork()
if not pid: os._exit(0)
os.waitpid(pid, 0)
say(s.last_seq(), s.stats().pending, s.check())
s.close()
"""
    assert run(script, path) == "10 0 []"


WHILE_WRITING = """
import ctypes, signal, threading
s = spool(synchronous=sys.argv[2])
s.append(b'before')
begun, go_on = threading.Event(), threading.Event()
def write():
    with s._database.transaction() as db:
        begun.set()
        go_on.wait()
thread = threading.Thread(target=write)
thread.start()
begun.wait()
pid = ctypes.PyDLL(None).fork()
if not pid:
    signal.alarm(60)
    began = time.monotonic()
    for spool_of_child in [s, spool()]:
        assert spool_of_child.last_seq() == 1
        try: spool_of_child.append(b'child')
        except SpoolBusyError as error: assert 'forked by C code' in str(error), error
        else: raise AssertionError
    assert time.monotonic() - began < 8  # SQLite's lock would be waited for in vain for 10 s
    os._exit(0)
go_on.set()
thread.join()
status = os.waitpid(pid, 0)[1]
for _ in range(100): s.append(b'after')
say(status, s.last_seq(), s.check(), list(s.notices()))
s.close()
"""


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_a_child_forked_by_c_code_during_a_write_gets_a_clear_error(path: Path, synchronous: str) -> None:
    assert run(WHILE_WRITING, path, synchronous) == "0 101 [] []"
