"""The processes of the scenario "processes". Each function is the whole life of one and of its children."""

from __future__ import annotations

import ctypes
import json
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from alignai import AlignAI, Config
from tests.faults.kill.worker import Note, Orders, record

if TYPE_CHECKING:
    from collections.abc import Callable

ENDS = ("close", "return", "exit", "die")
"""The ends of a child: by close, by multiprocessing, by `os._exit`, or killed."""


class Here:
    """The client of this process. A forked child has that of its parent."""

    orders: Orders
    note: Note
    sdk: AlignAI | None = None


def begin(encoded: str) -> None:
    """Make sure that this process has a client. A forked process has that of its parent."""
    if Here.sdk is None:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
        Here.orders = Orders(**json.loads(encoded))
        Here.note = Note(Here.orders.journal)
        Here.sdk = AlignAI(config=Config(**Here.orders.config))


def work(times: int) -> None:
    """Record some events."""
    assert Here.sdk
    record(Here.sdk, replace(Here.orders, name=uuid.uuid4().hex, events=times), 0, Here.note)


def end(how: str) -> None:
    """End this child."""
    assert Here.sdk
    if how == "close":
        Here.sdk.close(5)
    elif how == "exit":
        os._exit(0)
    elif how == "die":
        os.kill(os.getpid(), signal.SIGKILL)


def child(encoded: str, times: int, how: str) -> None:
    """Live the life of a child."""
    signal.alarm(60)  # a child that hangs is a failure, not a test without an end
    begin(encoded)
    work(times)
    end(how)


def _close() -> None:
    assert Here.sdk
    Here.sdk.close(30)


def _in_threads(count: int, target: Callable[[], None], *, daemon: bool = False) -> list[threading.Thread]:
    threads = [threading.Thread(target=target, daemon=daemon) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def children(method: str) -> None:
    """Start `multiprocessing.Process` children while this process records too."""
    work(20)
    context = multiprocessing.get_context(method)
    encoded = Here.orders.encoded()
    born = [context.Process(target=child, args=(encoded, 20, how)) for how in ENDS]
    for each in born:
        each.start()
        work(20)
    for each in born:
        each.join()
    assert [each.exitcode for each in born] == [0, 0, 0, -signal.SIGKILL]
    _close()


def pool(method: str) -> None:
    """Run a pool whose workers are replaced after two tasks, and terminated at its end."""
    with multiprocessing.get_context(method).Pool(3, begin, (Here.orders.encoded(),), maxtasksperchild=2) as workers:
        tasks = workers.map_async(work, [5] * 20, chunksize=1)
        work(100)
        tasks.get(60)
    _close()


def forking_threads(_: str) -> None:
    """Fork again and again on one thread while others record."""
    threads = _in_threads(3, lambda: work(150))
    for number in range(16):
        pid = os.fork()
        if not pid:
            child("", 3, ("close", "exit", "die", "exit")[number % 4])
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == (-signal.SIGKILL if number % 4 == 2 else 0), status
    for thread in threads:
        thread.join()
    _close()


def many_threads(count: str) -> None:
    """Let *count* threads call at the same moment."""
    start = threading.Barrier(int(count))

    def once() -> None:
        start.wait(60)
        work(1)

    for thread in _in_threads(int(count), once):
        thread.join()
    _close()


def forgotten(count: str) -> None:
    """Drop one client after another without close, and end the process without close."""
    for _ in range(int(count)):
        Here.sdk = AlignAI(config=Config(**Here.orders.config))
        work(5)


def just_ends(_: str) -> None:
    """End the process without close while its threads record."""
    _in_threads(3, lambda: work(100_000), daemon=True)
    work(100)


def only_opens(_: str) -> None:
    """Keep a client that records nothing."""
    print("open", flush=True)
    sys.stdin.readline()
    _close()


def breaks_off(_: str) -> None:
    """End the process by `os._exit` while it uploads."""
    assert Here.sdk
    work(2)
    Here.sdk.flush(random.uniform(0.05, 0.25))
    os._exit(0)


def sender_dies(times: str) -> None:
    """Inject exceptions into the SDK's own threads again and again."""
    for _ in range(int(times)):
        work(20)
        for thread in threading.enumerate():
            if thread.name.startswith("alignai"):
                thrown = ctypes.py_object(random.choice([SystemExit, MemoryError, RuntimeError]))
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), thrown)
        time.sleep(random.uniform(0, 0.05))
    print("worked", flush=True)
    sys.stdin.readline()
    _close()


class TooLongError(Exception):
    """The exception of the signal handler."""


def interrupted(times: str) -> None:
    """Interrupt calls at any line by a time limit while other threads record."""

    def raises(*_: object) -> None:
        raise TooLongError

    signal.signal(signal.SIGALRM, raises)
    threads = _in_threads(2, lambda: work(150))
    for _ in range(int(times)):
        with suppress(TooLongError):
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 2e-3))
                work(3)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    for thread in threads:
        thread.join()
    print("worked", flush=True)
    sys.stdin.readline()
    _close()


def opening_forks(times: str) -> None:
    """Fork while another thread makes one client after another."""
    over = threading.Event()

    def opens() -> None:
        while not over.is_set():
            AlignAI(config=Config(**Here.orders.config)).close(0)

    threads = _in_threads(1, opens)
    for number in range(int(times)):
        work(2)
        pid = os.fork()
        if not pid:
            child("", 3, ("close", "exit", "die", "exit")[number % 4])
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == (-signal.SIGKILL if number % 4 == 2 else 0), status
    over.set()
    for thread in threads:
        thread.join()
    _close()


def main() -> None:
    """Run the function that the command line names."""
    life, orders, argument = sys.argv[1:]
    begin(orders)
    globals()[life](argument)
