"""
The process whose power is cut: it does everything that is done to a spool, and says in a file what was acknowledged.

What it says is recorded with its writes, so that it is known what had been acknowledged at each of them.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from alignai.spool import Spool, SpoolFullError
from alignai.spool.storage import limits as space

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = "project"
NAME = "spool.db"
SAID = "said"
MAX_BYTES = 1 << 20
_SIZES = [20, 20, 200, 3000, 20_000]


def payload(number: int, size: int) -> bytes:
    """What event *number* holds."""
    return b"%d:" % number + b"." * size


class Worker:
    """A spool, small so that its log is checkpointed often, and what is done to it."""

    def __init__(self, folder: Path, seed: str, synchronous: str) -> None:
        self._rng = random.Random(seed)
        self._path = folder / NAME
        self._said = os.open(folder / SAID, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._synchronous = synchronous
        self._numbers = itertools.count(1)
        self._open()

    def _open(self) -> None:
        self._spool = Spool(
            self._path,
            project_id=PROJECT,
            synchronous=self._synchronous,
            max_bytes=MAX_BYTES,
            on_full="drop_oldest",
            retention=0,
        )

    def _say(self, what: str, **facts: object) -> None:
        os.write(self._said, json.dumps({"what": what, **facts}).encode() + b"\n")

    def work(self, steps: int) -> None:
        """Do so many things, of any kind."""
        doings: list[Callable[[], None]] = [self._append, self._threads, self._batch, self._keep_up, self._restart]
        doings += [self._foreign, self._other_process]
        for _ in range(steps):
            self._rng.choices(doings, weights=[30, 4, 20, 12, 2, 1, 1])[0]()

    def _append(self) -> None:
        number, size = next(self._numbers), self._rng.choice(_SIZES)
        try:
            seq = self._spool.append(payload(number, size))
        except SpoolFullError:  # all that is left is in batches
            return
        self._say("appended", seq=seq, number=number, size=size)

    def _threads(self) -> None:
        threads = [threading.Thread(target=self._append) for _ in range(self._rng.randint(2, 6))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _batch(self) -> None:
        batch = self._spool.next_batch(self._rng.randint(1, 12), 100_000)
        if not batch:
            return
        known = {"first": batch.first, "last": batch.last, "request": batch.request_id}
        self._say("opened", **known)
        kind = self._rng.choices(["sent", "failed", "rejected", "split"], weights=[12, 3, 1, 2])[0]
        if kind == "split" and len(batch) == 1:  # it stays as it is
            kind = "failed"
        self._say("ending", kind=kind, **known)
        if kind == "sent":
            self._spool.mark_sent(batch)
        elif kind == "failed":
            self._spool.mark_failed(batch, "failed")
        elif kind == "rejected":
            self._spool.mark_rejected(batch, "reason", "rejected")
        else:
            self._spool.split(batch)
        self._say("ended", kind=kind, **known)

    def _keep_up(self) -> None:
        self._say("keeping up")
        self._spool.upkeep()
        self._say("kept up")

    def _restart(self) -> None:
        self._say("keeping up")
        self._spool.close()
        self._say("kept up")
        self._open()

    def _foreign(self) -> None:
        """Another program looks at the spool through SQLite, is the last to close it, and deletes the log."""
        self._in_child(self._look)

    def _look(self) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("SELECT count(*) FROM events").fetchone()

    def _other_process(self) -> None:
        """It appends, and dies before it has synced anything."""
        self._in_child(lambda: [self._append() for _ in range(3)])
        for _ in range(3):
            next(self._numbers)

    @staticmethod
    def _in_child(do: Callable[[], object]) -> None:
        child = os.fork()
        if not child:
            do()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    space._VACUUM_FROM_PAGES = 16
    Worker(Path(sys.argv[1]), sys.argv[2], sys.argv[3]).work(int(sys.argv[4]))
