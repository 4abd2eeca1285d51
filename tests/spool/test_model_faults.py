"""
The model of a spool beside other processes, which append, are killed, find the disk full and take the lease.

The clock jumps by years. Sent events are deleted once their retention time is over, and not before.
"""

from __future__ import annotations

import os
import resource
import signal
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from alignai.spool import Lease, Spool, SpoolError
from tests.spool.test_model import SpoolModel
from tests.support.movable_clock import YEAR, movable
from tests.support.spool_file import wal

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOADS = st.lists(st.binary(max_size=40) | st.just(b"." * 6000), min_size=1, max_size=6)
_WRONG = 255


class FaultyModel(SpoolModel):
    def __init__(self) -> None:
        super().__init__()
        self.moving = movable()
        self.clock = self.moving.__enter__()
        self.jumps = 0
        self.stale: set[int] = set()
        self.fresh: set[int] = set()
        self.lease = Lease(self.path)
        self.holder: int | None = None

    @initialize(synchronous=st.sampled_from(["normal", "full"]), retention=st.sampled_from([0, 3600]))
    def begin(self, synchronous: str, retention: float) -> None:
        self.retention = retention
        super().begin(synchronous)

    def opened(self) -> Spool:
        return Spool(self.path, project_id="project", synchronous=self.synchronous, retention=self.retention)

    def teardown(self) -> None:
        try:
            if self.holder:
                self.it_dies()
            self.lease.release()
            super().teardown()
        finally:
            self.moving.__exit__(None, None, None)

    # -- other processes -----------------------------------------------------------------------------------------------

    @rule(payloads=PAYLOADS, end=st.sampled_from(["closed", "killed", "gone"]))
    def fork_and_append(self, payloads: list[bytes], end: str) -> None:
        def do() -> int:
            for payload in payloads:
                self.spool.append(payload)
            if end == "closed":
                self.spool.close()
            if end == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            return len(payloads)

        assert in_child(do) in (len(payloads), -signal.SIGKILL)
        self.appended_elsewhere(payloads)

    @rule(payloads=PAYLOADS, room=st.integers(0, 20_000))
    def find_the_disk_full(self, payloads: list[bytes], room: int) -> None:
        """Run a process whose disk has *room* bytes left. Exactly the events that it acknowledged are there."""

        def do() -> int:
            most = wal(self.path).stat().st_size + room
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
            appended = 0
            with suppress(SpoolError):
                for payload in payloads:
                    self.spool.append(payload)
                    appended += 1
            return appended

        appended = in_child(do)
        assert 0 <= appended <= len(payloads)
        self.appended_elsewhere(payloads[:appended])

    def appended_elsewhere(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self.appended += 1
            self.pending.append((self.appended, payload))

    @precondition(lambda self: not self.holder and not self.lease.held)
    @rule()
    def another_process_takes_the_lease(self) -> None:
        ready, says = os.pipe()
        self.holder = fork(lambda: self.hold(says))
        os.close(says)
        assert os.read(ready, 1) == b"y"
        os.close(ready)
        assert not self.lease.acquire()

    def hold(self, says: int) -> int:
        lease = Lease(self.path)  # by its name: without one, it would be given back at once
        os.write(says, b"y" if lease.acquire() else b"n")
        signal.pause()
        return 0

    @precondition(lambda self: self.holder)
    @rule()
    def it_dies(self) -> None:
        assert self.holder
        os.kill(self.holder, signal.SIGKILL)
        os.waitpid(self.holder, 0)
        self.holder = None
        assert self.lease.acquire()

    @precondition(lambda self: self.lease.held)
    @rule()
    def give_the_lease_back(self) -> None:
        self.lease.release()

    # -- retention -----------------------------------------------------------------------------------------------------

    @rule()
    def jump(self) -> None:
        """Move the clock to a time far from any earlier one."""
        self.jumps += 1
        self.clock.wall = (-1) ** self.jumps * self.jumps * YEAR
        self.stale |= self.fresh
        self.fresh.clear()

    @precondition(lambda self: self.current)
    @rule()
    def mark_sent(self) -> None:
        before = len(self.sent)
        super().mark_sent()
        self.fresh |= {seq for seq, _ in self.sent[before:]}

    @rule()
    def maintain(self) -> None:
        super().maintain()
        if not self.retention:
            self.stale |= self.fresh
            self.fresh.clear()
        oldest = min([self.oldest_unsettled(), *self.fresh])
        assert not {seq for seq in self.stale if seq < oldest} & self.kept()

    @rule()
    def purge_sent(self) -> None:
        super().purge_sent()
        self.fresh = {seq for seq in self.fresh if seq > self.oldest_unsettled()}

    @invariant()
    def what_was_just_sent_is_kept(self) -> None:
        if self.retention:
            empty = {seq for seq, payload in self.sent if not payload}
            assert self.fresh - empty <= self.kept()


def fork(do: Callable[[], int]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of other tests' threads, which the child does not use
        child = os.fork()
    if not child:
        code = _WRONG
        try:
            code = do()
        finally:
            os._exit(code)
    return child


def in_child(do: Callable[[], int]) -> int:
    """Run *do* in a process of its own and return its result, or the negated signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(fork(do), 0)[1])


FaultyModel.TestCase.settings = settings(max_examples=12, stateful_step_count=30, deadline=None)
TestFaultyModel = FaultyModel.TestCase
