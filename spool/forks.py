"""
What a fork may not carry over: no SQLite connection and no held lock crosses it.

SQLite keeps its locks per process and its bookkeeping in memory: a child that inherits both believes in locks that it
does not have (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_). So every
spool closes its connections just before a fork and opens them again, on both sides, when they are next needed.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class Forkable(Protocol):
    """What takes part in forks."""

    path: Path

    @property
    def opened(self) -> object:
        """The connections, if they are open."""

    def suspend(self) -> None:
        """Take every lock and let go of every connection."""

    def resume(self) -> None:
        """Give every lock back."""

    def begin_anew(self) -> None:
        """Fresh locks and nothing open, as in a new process."""


_spools: weakref.WeakSet[Forkable] = weakref.WeakSet()
_registry = threading.RLock()
_paused: list[Forkable] = []


def register(spool: Forkable) -> None:
    """Let *spool* take part in forks for as long as it lives."""
    with _registry:
        _spools.add(spool)


def sharing(path: Path) -> list[Forkable]:
    """Every spool of this process on *path*, in an order that is the same for all who ask."""
    with _registry:
        return sorted((each for each in _spools if each.path == path), key=id)


def _before() -> None:
    _registry.acquire()
    _paused[:] = sorted(_spools, key=id)
    for spool in _paused:
        spool.suspend()


def _after_in_parent() -> None:
    for spool in reversed(_paused):
        spool.resume()
    _paused.clear()
    _registry.release()


def _after_in_child() -> None:
    global _registry  # noqa: PLW0603 - the old one is held by a thread that is not here
    _registry = threading.RLock()
    for spool in _paused:
        spool.begin_anew()
    _paused.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
