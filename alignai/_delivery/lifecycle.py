"""The senders of a process when it forks, and when it ends."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from alignai._delivery import sharing
from alignai.clock import monotonic
from alignai.deadline import Deadline
from alignai.spool import SpoolError, load_filelock

if TYPE_CHECKING:
    from alignai._delivery.sender import Sender

_FORKED_CHILD_DELAY_SECONDS = 0.5
"""
How long the threads of a forked child wait before they open anything. The child may be about to become a daemon, to
change its user or to close every descriptor.
"""

_MAX_STALL_SECONDS = 1.0
"""How long the exit waits without progress for another process, or for a server that has failed before."""

_forking: set[int] = set()


# -- forks: no thread of the SDK runs at that instant ------------------------------------------------------------------
# Python 3.12 and later warn of a fork in a process with threads, since the child may deadlock on the locks they hold.


def _before_fork() -> None:
    join_multiprocessing()
    _forking.add(threading.get_ident())
    for wait in [sender.threads.pause() for sender in sharing.senders()]:
        wait()


def _after_fork_in_parent() -> None:
    _forking.discard(threading.get_ident())
    if not _forking:  # unless another thread is about to fork
        for sender in sharing.senders():
            sender.threads.resume()
            sender.start()


def _after_fork_in_child() -> None:
    _forking.clear()
    sharing.reset_after_fork()
    for sender in sharing.senders():
        sender.start(_FORKED_CHILD_DELAY_SECONDS)


# -- the end -----------------------------------------------------------------------------------------------------------


class _WorthWaiting:
    """
    Whether the end of the process should keep waiting: the data is safe, so only while uploads succeed.

    A server that has failed before, and another process that uploads, get a moment to show that they work.
    """

    def __init__(self, sender: Sender) -> None:
        self._cycle = sender.cycle
        self._failures = sender.cycle.uploader.failures
        self._remaining = -1
        self._since = monotonic()

    def __call__(self, remaining: int) -> bool:
        if remaining != self._remaining:
            self._remaining, self._since = remaining, monotonic()
        uploader = self._cycle.uploader
        if uploader.failures != self._failures:
            return False
        follows = self._cycle.idle and not self._cycle.leads
        return not (follows or uploader.failing) or monotonic() - self._since < _MAX_STALL_SECONDS


def _drain_at_exit() -> None:
    """Upload pending events while that succeeds, then stop. All senders do so at once, each within its own time."""
    ends = [(sender, sender.exit_deadline(), _WorthWaiting(sender)) for sender in sharing.senders()]
    for sender, deadline, _ in ends:
        with suppress(SpoolError):
            sender.request_flush(deadline.sooner(_MAX_STALL_SECONDS))
    for sender, deadline, worth_waiting in ends:
        if not sender.users.ended:
            remaining = sender.drain(deadline, worth_waiting)
            sender.stop(Deadline.after(0) if remaining else deadline)
            sender.report(remaining)


class _Children:
    """A hook that `multiprocessing` calls in its children. They end by `os._exit`, without Python's exit hooks."""

    known = False

    def begin(self) -> None:
        """Have this child drain at its end. Called once the child has dropped the finalisers of its parent."""
        util: Any = sys.modules["multiprocessing.util"]
        util.Finalize(None, _drain_at_exit, exitpriority=0)


_children = _Children()


def join_multiprocessing() -> None:
    """Have the children of `multiprocessing` drain at their ends, if it is in use."""
    util: Any = sys.modules.get("multiprocessing.util")
    process: Any = sys.modules.get("multiprocessing.process")
    if util is None or process is None or _children.known:
        return
    _children.known = True
    util.register_after_fork(_children, _Children.begin)
    if process.parent_process() is not None:
        _children.begin()


class _Process:
    """The preparations that are done in this process, and hold in its children."""

    forks_are_known = False


def begin(*, uploads: bool) -> None:
    """
    Prepare the process for a client, before the threads of the first one start.

    Args:
        uploads: Whether the client uploads, and so wants the lease.
    """
    if uploads:
        # Not on the thread that takes the lease: a fork could happen in the middle of the import. And before the hooks
        # of this module are registered, so that they run first in a fork: filelock's hold up a thread that takes the
        # lease.
        load_filelock()
    if hasattr(os, "register_at_fork") and not _Process.forks_are_known:
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )
        _Process.forks_are_known = True
    join_multiprocessing()


atexit.register(_drain_at_exit)
