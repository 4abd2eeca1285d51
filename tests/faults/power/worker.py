"""
The process whose power is cut. It uses every operation of a spool and writes facts about each to a file.

The facts are recorded with its other writes, so that the oracle knows the acknowledged events at each write.
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
from alignai.spool.storage import limits

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = "project"
NAME = "spool.db"
FACTS = "facts"
MAX_BYTES = 1 << 20
_SIZES = [20, 20, 200, 3000, 20_000]


def payload(number: int, size: int) -> bytes:
    """Return the payload of event *number*."""
    return b"%d:" % number + b"." * size


class Worker:
    """A spool and the operations on it. It is small, so that its WAL is checkpointed often."""

    def __init__(self, folder: Path, seed: str, synchronous: str) -> None:
        self._rng = random.Random(seed)
        self._path = folder / NAME
        self._facts = os.open(folder / FACTS, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
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

    def _note(self, what: str, **facts: object) -> None:
        os.write(self._facts, json.dumps({"what": what, **facts}).encode() + b"\n")

    def work(self, steps: int) -> None:
        """Take *steps* random steps."""
        actions: list[Callable[[], None]] = [self._append, self._threads, self._batch, self._keep_up, self._restart]
        actions += [self._foreign, self._other_process]
        for _ in range(steps):
            self._rng.choices(actions, weights=[30, 4, 20, 12, 2, 1, 1])[0]()

    def _append(self) -> None:
        number, size = next(self._numbers), self._rng.choice(_SIZES)
        try:
            seq = self._spool.append(payload(number, size))
        except SpoolFullError:  # every remaining event is in a batch
            return
        self._note("appended", seq=seq, number=number, size=size)

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
        self._note("opened", **known)
        kind = self._rng.choices(["sent", "failed", "rejected", "split"], weights=[12, 3, 1, 2])[0]
        if kind == "split" and len(batch) == 1:  # a batch of one event is not split
            kind = "failed"
        self._note("ending", kind=kind, **known)
        if kind == "sent":
            self._spool.mark_sent(batch)
        elif kind == "failed":
            self._spool.mark_failed(batch, "failed")
        elif kind == "rejected":
            self._spool.mark_rejected(batch, "reason", "rejected")
        else:
            self._spool.split(batch)
        self._note("ended", kind=kind, **known)

    def _keep_up(self) -> None:
        self._note("maintaining")
        self._spool.maintain()
        self._note("maintained")

    def _restart(self) -> None:
        self._note("maintaining")
        self._spool.close()
        self._note("maintained")
        self._open()

    def _foreign(self) -> None:
        """Let another program read the spool through SQLite, close it as the last one, and delete the WAL."""
        self._in_child(self._look)

    def _look(self) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("SELECT count(*) FROM events").fetchone()

    def _other_process(self) -> None:
        """Let another process append and die before it has synced anything."""
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
    limits._VACUUM_FROM_BYTES = 16 * limits.PAGE_SIZE
    Worker(Path(sys.argv[1]), sys.argv[2], sys.argv[3]).work(int(sys.argv[4]))
