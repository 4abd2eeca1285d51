"""
Crash points: a worker dies, as by `kill -9`, at a named step of the spool's or the sender's work.

The SDK contains no code for them. In its own process, the worker replaces the spool's connections by ones that watch
the statements, and wraps the functions that are a step.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

from alignai.spool.ledger import sql

if TYPE_CHECKING:
    from collections.abc import Callable

BY_ITSELF = ("before", "after")
IN_A_TRANSACTION = (*BY_ITSELF, "before commit of", "after commit of")

STATEMENTS = {
    "switching to WAL": ("PRAGMA journal_mode = WAL", BY_ITSELF),
    "the first table": ("CREATE TABLE events", IN_A_TRANSACTION),
    "the version": ("PRAGMA user_version =", IN_A_TRANSACTION),
    "append": (sql.APPEND, BY_ITSELF),
    "opening a batch": (sql.OPEN_BATCH, IN_A_TRANSACTION),
    "resuming a batch": (sql.REOPEN_BATCH, IN_A_TRANSACTION),
    "noting a failure": (sql.FAILED, IN_A_TRANSACTION),
    "settling a batch": (sql.SETTLE, IN_A_TRANSACTION),
    "counting what is sent": (sql.COUNT_SENT, IN_A_TRANSACTION),
    "splitting a batch": (sql.DELETE_OPEN_BATCH, IN_A_TRANSACTION),
    "rejecting": (sql.KEEP_REJECTED, IN_A_TRANSACTION),
    "deleting": (sql.DELETE_EVENTS, IN_A_TRANSACTION),
    "pruning": (sql.MARK_PRUNED, IN_A_TRANSACTION),
    "a checkpoint": ("PRAGMA wal_checkpoint", BY_ITSELF),
    "vacuuming": ("PRAGMA incremental_vacuum", BY_ITSELF),
    "requeueing": (sql.TAKE_REJECTED, IN_A_TRANSACTION),
    "counting what is requeued": (sql.UNCOUNT_REJECTED, IN_A_TRANSACTION),
    "purging rejected events": (sql.PURGE_REJECTED, IN_A_TRANSACTION),
    "counting what is purged": (sql.COUNT_DROPPED, IN_A_TRANSACTION),
    "noting the lease": (sql.TAKE_LEASE, IN_A_TRANSACTION),
    "giving the lease back": (sql.GIVE_LEASE, IN_A_TRANSACTION),
}
"""The beginning of the statement that the SDK executes at each step, and the moments around it to die at."""

CALLS = {
    "making the file": "alignai.spool.storage.preparation:create_private",
    "syncing the WAL": "alignai.spool.storage.connections:sync_wal",
    "an upload": "alignai._transport.api_client:APIClient.upload",
    "taking the lease": "alignai.spool.lease:Lease.acquire",
    "releasing the lease": "alignai.spool.lease:Lease.release",
    "closing the spool": "alignai.spool.engine:Spool.close",
}
"""The functions that are a step."""

SALVAGE_STATEMENTS = {"keeping what was rejected": (sql.KEEP_REJECTED, BY_ITSELF)}
SALVAGE_CALLS = {"naming what was salvaged": "os:link", "tidying up": "shutil:rmtree"}

POINTS = [f"{when} {step}" for step, (_, moments) in STATEMENTS.items() for when in moments] + [
    f"{when} {step}" for step in CALLS for when in BY_ITSELF
]

SALVAGING = [
    *(f"{when} making the file" for when in BY_ITSELF),
    *(f"{when} the version" for when in IN_A_TRANSACTION),
    *(f"{when} keeping what was rejected" for when in BY_ITSELF),
    *(f"{when} append" for when in BY_ITSELF),
    *(f"{when} opening a batch" for when in IN_A_TRANSACTION),
    *(f"{when} a checkpoint" for when in BY_ITSELF),
    *(f"{when} naming what was salvaged" for when in BY_ITSELF),
    *(f"{when} tidying up" for when in BY_ITSELF),
]
"""The crash points of `salvage`."""

CREATING = ("making the file", "switching to WAL", "the first table", "the version")
KEEPING = ("requeueing", "counting what is requeued", "purging rejected events", "counting what is purged")
"""The steps of `requeue` and `purge`, which no worker takes."""
ENDING = ("giving the lease back", "releasing the lease", "closing the spool")

_STATEMENTS = STATEMENTS | SALVAGE_STATEMENTS
_CALLS = CALLS | SALVAGE_CALLS


def step_of(point: str) -> str:
    """Return the step of a crash point, without the moment."""
    return next(step for step in (*_STATEMENTS, *_CALLS) if point.endswith(f" {step}"))


def install(point: str, times: int, last_words: Callable[[str], None]) -> None:
    """Kill this process when it reaches *point* for the *times*-th time, after a call of *last_words*."""
    left = [times]

    def reach(here: str) -> None:
        if here == point:
            left[0] -= 1
            if left[0] == 0:
                last_words(f"died {point}")
                os.kill(os.getpid(), signal.SIGKILL)

    for step, (beginning, _) in _STATEMENTS.items():
        if point.endswith(f" {step}"):
            _watch_statements(step, beginning, reach)
    for step, target in _CALLS.items():
        if point.endswith(f" {step}"):
            _watch_calls(step, target, reach)


def _watch_statements(step: str, beginning: str, reach: Callable[[str], None]) -> None:
    """Give the spool connections that call *reach* around the statements of a step."""

    class Watched(sqlite3.Connection):
        committing = False
        """True if the statement is part of the open transaction."""

        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            return self._run(super().execute, statement, *values)

        def executescript(self, script: str) -> sqlite3.Cursor:
            return self._run(super().executescript, script)

        def _run(self, run: Callable[..., sqlite3.Cursor], statement: str, *values: Any) -> sqlite3.Cursor:
            here = statement.strip().startswith(beginning.strip())
            ends = statement == "COMMIT" and self.committing
            if here or ends:
                reach(f"before {step}" if here else f"before commit of {step}")
            done = run(statement, *values)
            if here or ends:
                reach(f"after {step}" if here else f"after commit of {step}")
            self.committing = self.in_transaction and (here or self.committing)
            return done

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **options: connect(*args, factory=Watched, **options)  # type: ignore[assignment]


def _watch_calls(step: str, target: str, reach: Callable[[str], None]) -> None:
    """Wrap a function to call *reach* around it. A function that returns False has done nothing."""
    module, _, path = target.partition(":")
    *holders, name = path.split(".")
    holder: Any = import_module(module)
    for each in holders:
        holder = getattr(holder, each)
    function = getattr(holder, name)

    @wraps(function)
    def watched(*args: Any, **options: Any) -> Any:
        reach(f"before {step}")
        done = function(*args, **options)
        if done is not False:
            reach(f"after {step}")
        return done

    setattr(holder, name, watched)
