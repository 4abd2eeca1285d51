"""
Clocks that jump: the wall clock back and forth by years, the monotonic one on by an hour in an outage.

Nothing is lost and nothing leaves its order under any clock. Events wait no longer than the flush interval in real
time. They have the time that the clock showed when they were recorded, and they give their room back. Ages are never
negative.
"""

from __future__ import annotations

import logging
import tempfile
import time
from contextlib import closing, suppress
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from alignai.spool import Spool
from tests.support.clients import PROJECT, client, repeated_under_another_id
from tests.support.movable_clock import YEAR, Clock, movable
from tests.support.servers.connect import ConnectServer, Request
from tests.support.spool_file import ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from alignai import AlignAI
    from tests.faults.scenario import Run, Trial

STEPS = 40
_JUMPS = [-40 * YEAR, -3 * YEAR, -86400.0, -5.0, 0.0, 5.0, 86400.0, 3 * YEAR, 70 * YEAR]
_PATIENCE = 60.0
_SHORTLY = 15.0
_HOUR = 3600.0
_LONGEST_WAIT = 700.0
"""Seconds after which everything is tried again. Retry-After counts up to 600, and a backoff of 60 may follow."""


def run(run: Run) -> None:
    """Jump, record, flush, restart and take the server away, in any order."""
    logging.getLogger("alignai").addHandler(logging.NullHandler())  # outages are expected here
    for trial in run.trials():
        with tempfile.TemporaryDirectory() as folder, ConnectServer() as server, movable() as clock:
            _Life(run, trial, Path(folder) / "spool.db", server, clock).live(STEPS)


class _Life:
    def __init__(self, run: Run, trial: Trial, path: Path, server: ConnectServer, clock: Clock) -> None:
        self._run = run
        self._trial = trial
        self._path = path
        self._server = server
        self._clock = clock
        self._retention = trial.rng.choice([0, 3600])
        self._recorded: list[tuple[str, float, float]] = []
        self._sdk = self._open()

    def _open(self) -> AlignAI:
        return client(self._server.url, self._path, sent_retention_seconds=self._retention)

    def live(self, steps: int) -> None:
        """Take *steps* random steps, then check that every event arrived."""
        actions = [self._jump, self._record, self._flush, self._wait, self._look, self._restart, self._outage]
        try:
            for _ in range(steps):
                self._trial.rng.choices(actions, weights=[10, 14, 3, 3, 4, 2, 1])[0]()
            self._flush()
            self._judge()
            self._gives_room_back()
        finally:
            self._sdk.close(_PATIENCE)

    def _jump(self) -> None:
        self._clock.wall = self._trial.rng.choice(_JUMPS)
        self._run.count(jumps=1)

    def _record(self) -> None:
        for number in range(self._trial.rng.randint(1, 80)):
            before = self._clock.time()
            event_id = self._sdk.create_message("s1", number + 1, "user", "Hey, you there?")
            self._recorded.append((str(event_id), before, self._clock.time()))

    def _flush(self) -> None:
        self._trial.check("a flush sends everything", holds=bool(self._sdk.flush(_PATIENCE)))

    def _wait(self) -> None:
        """Check that events arrive by the flush interval alone."""
        self._record()
        self._arrives()

    def _all_arrived(self) -> bool:
        return len({*self._server.ids()}) == len(self._recorded)

    def _look(self) -> None:
        age = self._sdk.stats().oldest_pending_seconds
        self._trial.check(f"an age of {age} is possible", holds=age is None or 0 <= age < 200 * YEAR)

    def _restart(self) -> None:
        self._sdk.close(_PATIENCE)
        self._sdk = self._open()

    def _outage(self) -> None:
        """Spend an hour without a server, or with one that answers with a Retry-After date."""
        if self._trial.rng.random() < 0.5:
            self._server.stop()
        else:
            self._server.respond = _come_back_at(self._trial.rng.choice(_JUMPS))
        refused = len(self._server.requests)
        for _ in range(6):
            self._record()
            self._jump()
            self._clock.ahead += _HOUR / 6
        self._server.respond = None
        self._server.start()
        self._comes_back()
        self._run.count(outages=1, refused=len(self._server.requests) - refused)

    def _comes_back(self) -> None:
        """Wait for the longest wait, or twice if an upload was in progress when the clock was moved."""
        self._clock.ahead += _LONGEST_WAIT
        with suppress(AssertionError):
            wait_until(self._all_arrived, _SHORTLY)
            return
        self._clock.ahead += _LONGEST_WAIT
        self._arrives()

    def _arrives(self) -> None:
        try:
            wait_until(self._all_arrived, _PATIENCE)
        except AssertionError:
            self._trial.fail(f"not everything arrives by itself; {self._sdk.stats()}")

    def _judge(self) -> None:
        server, check = self._server, self._trial.check
        arrived = list(dict.fromkeys(server.ids()))
        check("all arrive, in order", holds=arrived == [event_id for event_id, _, _ in self._recorded])
        check("repeats keep their request id", holds=repeated_under_another_id(server) == [])
        at = {event["id"]: datetime.fromisoformat(event["createTime"]).timestamp() for event in server.events()}
        for event_id, before, after in self._recorded:
            check("it bears the clock's time", holds=before - 1e-5 <= at[event_id] <= after + 1e-5)
        self._run.count(events=len(arrived))

    def _gives_room_back(self) -> None:
        """Check that sent events are kept for the retention time and not for the years that the clock was ahead."""
        self._clock.wall += self._trial.rng.choice([-30, 30]) * YEAR
        with closing(Spool(self._path, project_id=PROJECT, retention=self._retention)) as spool:
            spool.maintain()
            self._trial.check("the spool is sound", holds=spool.check() == [])
        (kept,) = ask(self._path, "SELECT count(*) FROM events WHERE payload <> x''")[0]
        self._trial.check(f"{kept} sent events are not kept beyond their time", holds=kept <= 1)


def _come_back_at(offset: float) -> Callable[[Request], None]:
    """Answer as a server that is unavailable for ten minutes and whose own clock is wrong by *offset*."""

    def respond(request: Request) -> None:
        date = time.time() + offset + 600
        request.response_headers["Retry-After"] = formatdate(date, usegmt=True)
        raise ConnectError(Code.UNAVAILABLE, "come back")

    return respond
