"""
Exceptions from any line, as signal handlers raise them or other threads inject them.

The calls of one thread are interrupted at line after line of the spool. Other threads record, read and maintain the
spool at the same time.

- No other call is refused or delayed, and the calls after the interrupted one work.
- Each acknowledged event is there once. An event of an interrupted call may be there, once.
- No transaction is left open.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from alignai.spool import Spool
from tests.support.clients import PROJECT
from tests.support.interrupts import TimeLimitError, interrupt
from tests.support.memory import in_memory
from tests.support.spool_file import payloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.scenario import Run, Trial

DEADLINE = 60.0
ERRORS = (TimeLimitError, TimeoutError, ValueError, KeyboardInterrupt)


def run(run: Run) -> None:
    """Interrupt one kind of call at each of its lines while other threads work."""
    for trial in run.trials():
        with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
            Interruptions(run, trial, Path(folder) / "spool.db").go()


class Interruptions:
    """A spool, the threads that use it, and the calls that are interrupted."""

    def __init__(self, run: Run, trial: Trial, path: Path) -> None:
        self.run, self.trial, self.path = run, trial, path
        self.synchronous = trial.rng.choice(["normal", "full"])
        self.acknowledged: list[bytes] = []
        self.refused: list[BaseException] = []
        self.stop = threading.Event()

    def go(self) -> None:
        """Interrupt a call at line after line until it has no more lines, then check the spool."""
        with closing(self.open()) as self.spool:
            threads = [
                threading.Thread(target=self.work, args=[number], daemon=True)
                for number in range(self.trial.rng.randrange(1, 5))
            ]
            for each in threads:
                each.start()
            call, error = self.call(), self.trial.rng.choice(ERRORS)
            at = self.trial.rng.randrange(1, 12)
            while interrupt(call, at, error):
                self.run.count(interrupted=1)
                self.goes_on()
                at += self.trial.rng.randrange(1, 12)
            self.stop.set()
            for each in threads:
                each.join(DEADLINE)
            self.trial.check("no thread hangs", holds=not any(each.is_alive() for each in threads))
            self.judge()

    def open(self) -> Spool:
        return Spool(self.path, project_id=PROJECT, synchronous=self.synchronous, retention=0)

    def call(self) -> Callable[[], object]:
        numbers = count()
        calls: list[Callable[[], object]] = [
            lambda: self.spool.append(b"interrupted %d" % next(numbers)),
            lambda: self.spool.next_batch(50, 1 << 20),
            self.send,
            self.spool.stats,
            self.spool.maintain,
            lambda: self.open().close(),
        ]
        return self.trial.rng.choice(calls)

    def send(self) -> None:
        batch = self.spool.next_batch(50, 1 << 20)
        if batch:
            self.spool.mark_failed(batch, "error")

    def work(self, number: int) -> None:
        try:
            for turn in count():
                if self.stop.is_set():
                    return
                payload = b"%d of %d" % (turn, number)
                self.spool.append(payload)
                self.acknowledged.append(payload)
                if not turn % 7:
                    self.spool.stats()
                if not turn % 30:
                    self.spool.maintain()
        except BaseException as error:  # noqa: BLE001 - any exception is a finding
            self.refused.append(error)

    def goes_on(self) -> None:
        """Check that the other threads continue and that the interrupted thread reads the newest row."""
        target = len(self.acknowledged) + 2
        over_at = time.monotonic() + DEADLINE
        while len(self.acknowledged) < target and not self.refused:
            self.trial.check("other threads go on", holds=time.monotonic() < over_at)
            time.sleep(0.001)
        seq = self.spool.append(b"after")
        self.trial.check("the newest row is read", holds=self.spool.last_seq() >= seq)

    def judge(self) -> None:
        stored = Counter(payloads(self.path))
        doubled = [payload for payload, number in stored.items() if number > 1 and payload != b"after"]
        self.run.count(acknowledged=len(self.acknowledged))
        self.trial.check(f"other calls are not refused: {self.refused}", holds=not self.refused)
        self.trial.check("acknowledged events are there", holds=all(stored[each] for each in self.acknowledged))
        self.trial.check(f"nothing is there twice: {doubled[:3]}", holds=not doubled)
        found = [*self.spool.check(), *self.spool.notices()]
        self.trial.check(f"the spool is sound: {found}", holds=not found)
