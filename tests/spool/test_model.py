"""
After any operations in any order, a spool holds the same events as a plain list would.

Every acknowledged event is pending, in flight, sent, rejected or dropped, in order and once.
"""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alignai.spool import Spool
from alignai.spool.ledger import transitions
from tests.support.processes import fork
from tests.support.spool_file import ask, transaction

if TYPE_CHECKING:
    from alignai.spool import Batch

Event = tuple[int, bytes]


@dataclass
class Open:
    """An open batch, as it must come back."""

    events: list[Event]
    request_id: str = ""
    attempts: int = 0
    faults: int = 0


class SpoolModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "spool.db"
        self.pending: deque[Event] = deque()
        self.open: deque[Open] = deque()
        self.sent: list[Event] = []
        self.rejected: list[Event] = []
        self.dropped: list[Event] = []
        self.appended = 0
        self.last_error: str | None = None
        self.current: tuple[Batch, Open] | None = None

    @initialize(synchronous=st.sampled_from(["normal", "full"]))
    def begin(self, synchronous: str) -> None:
        self.synchronous = synchronous
        self.spool = self.opened()

    def opened(self) -> Spool:
        return Spool(self.path, project_id="project", synchronous=self.synchronous, retention=0)

    def teardown(self) -> None:
        while self.pending or self.open:
            self.next_batch(100, 1 << 20)
            if self.current:
                self.mark_sent()
        self.everything_is_somewhere()
        order = [seq for seq, _ in self.sent]
        assert order == sorted(order)
        self.spool.close()
        self.folder.cleanup()

    @rule(payloads=st.lists(st.binary(max_size=40) | st.just(b"." * 6000), min_size=1, max_size=12))
    def append(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self.appended += 1
            assert self.spool.append(payload) == self.appended
            self.pending.append((self.appended, payload))

    @rule(max_events=st.integers(1, 8), max_bytes=st.sampled_from([1, 60, 10_000]))
    def next_batch(self, max_events: int, max_bytes: int) -> None:
        batch = self.spool.next_batch(max_events, max_bytes)
        expected = self.resumed() or self.begun(max_events, max_bytes)
        if not expected:
            assert batch is None
            self.current = None
            return
        assert batch
        expected.request_id = expected.request_id or batch.request_id
        assert batch.payloads == tuple(payload for _, payload in expected.events)
        assert (batch.request_id, batch.attempts, batch.faults) == (
            expected.request_id,
            expected.attempts,
            expected.faults,
        )
        self.current = batch, expected

    def resumed(self) -> Open | None:
        if not self.open:
            return None
        self.open[0].attempts += 1
        return self.open[0]

    def begun(self, max_events: int, max_bytes: int) -> Open | None:
        events: list[Event] = []
        while self.pending and len(events) < max_events:
            size = sum(len(payload) for _, payload in [*events, self.pending[0]])
            if events and size > max_bytes:
                break
            events.append(self.pending.popleft())
        if not events:
            return None
        self.open.append(Open(events, attempts=1))
        return self.open[-1]

    def split_model(self, batch: Open) -> None:
        self.open.popleft()
        middle = len(batch.events) // 2
        self.open.appendleft(Open(batch.events[middle:], faults=batch.faults))
        self.open.appendleft(Open(batch.events[:middle], faults=batch.faults))

    @precondition(lambda self: self.current)
    @rule()
    def mark_sent(self) -> None:
        assert self.current
        self.spool.mark_sent(self.current[0])
        self.sent += self.open.popleft().events
        self.current = None

    @precondition(lambda self: self.current)
    @rule(fault=st.booleans())
    def mark_failed(self, fault: bool) -> None:
        assert self.current
        batch, expected = self.current
        self.spool.mark_failed(batch, "failed", fault=fault)
        expected.faults += fault
        self.last_error, self.current = "failed", None

    @precondition(lambda self: self.current)
    @rule()
    def mark_rejected(self) -> None:
        assert self.current
        self.spool.mark_rejected(self.current[0], "reason", "rejected")
        self.rejected += self.open.popleft().events
        self.last_error, self.current = "rejected", None

    @precondition(lambda self: self.current and len(self.current[0]) > 1)
    @rule()
    def split(self) -> None:
        assert self.current
        self.spool.split(self.current[0])
        self.split_model(self.current[1])
        self.current = None

    @precondition(lambda self: self.current)
    @rule(deaths=st.integers(1, 20))
    def die_while_uploading(self, deaths: int) -> None:
        for _ in range(deaths):
            self.next_batch(1, 1)
            self.crash()

    @rule(max_bytes=st.sampled_from([1, 100, 10_000]))
    def drop_oldest(self, max_bytes: int) -> None:
        with transaction(self.path) as db:
            dropped = transitions.drop(db, max_bytes)
        size = 0
        for number in range(dropped):
            self.dropped.append(self.pending.popleft())
            size += len(self.dropped[-1][1])
            assert number == 0 or size <= max_bytes

    @rule()
    def requeue(self) -> None:
        """Rejected events are appended once more: in their order, under new numbers."""
        done = self.spool.requeue()
        assert (done.requeued, done.damaged) == (len(self.rejected), 0)
        for _, payload in sorted(self.rejected, key=itemgetter(0)):
            self.appended += 1
            self.pending.append((self.appended, payload))
        self.rejected.clear()

    @rule(state=st.sampled_from(["rejected", "pending"]))
    def purge(self, state: str) -> None:
        selection = self.spool.select(state)
        doomed = self.rejected if state == "rejected" else self.pending
        assert self.spool.purge(selection) == selection.events == len(doomed)
        self.dropped += doomed
        doomed.clear()

    @rule()
    def purge_sent(self) -> None:
        selection = self.spool.select("sent")
        assert self.spool.purge(selection) == selection.events
        assert not {seq for seq, _ in self.sent if seq < self.oldest_unsettled()} & self.kept()

    def oldest_unsettled(self) -> int:
        unsettled = [seq for batch in self.open for seq, _ in batch.events] + [seq for seq, _ in self.pending]
        return min(unsettled, default=self.appended + 1)

    def kept(self) -> set[int]:
        return {seq for (seq,) in ask(self.path, "SELECT seq FROM events WHERE payload <> x''")}

    @rule()
    def maintain(self) -> None:
        self.spool.maintain()

    @rule()
    def reopen(self) -> None:
        self.spool.close()
        self.spool = self.opened()
        self.current = None

    @rule()
    def crash(self) -> None:
        """End as a killed process does: nothing is checkpointed, and its batch is forgotten."""
        self.spool._database.close()
        self.spool = self.opened()
        self.current = None

    @rule()
    def fork_elsewhere(self) -> None:
        """Fork, which closes every connection of the parent and opens it again."""
        fork()

    @invariant()
    def everything_is_somewhere(self) -> None:
        stats = self.spool.stats()
        in_flight = [event for batch in self.open for event in batch.events]
        assert (stats.pending, stats.in_flight) == (len(self.pending), len(in_flight))
        assert (stats.sent, stats.rejected, stats.dropped) == (
            len(self.sent),
            len(self.rejected),
            len(self.dropped),
        )
        assert stats.last_error == self.last_error
        assert self.spool.last_seq() == self.appended
        assert self.spool.unsettled(self.appended) == len(self.pending) + len(in_flight)
        unsettled = [*in_flight, *self.pending]
        rows = ask(self.path, "SELECT seq, payload FROM events ORDER BY seq")
        assert [row for row in rows if row in unsettled] == unsettled
        assert ask(self.path, "SELECT seq, payload FROM rejected ORDER BY seq") == sorted(self.rejected)
        assert not [row for row in rows if row[1] and row in self.dropped]
        states = [state for (state,) in ask(self.path, "SELECT state FROM batches ORDER BY first")]
        assert ("dropped", "dropped") not in pairwise(states)
        assert self.spool.check() == []


SpoolModel.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSpoolModel = SpoolModel.TestCase
