"""
The power is cut at any moment, with any state of the writes that were not synced by then.

A worker's writes and syncs are recorded. Possible states of the disk after a cut are rebuilt from them, many times.
Each such disk must open as a sound spool that continues to work. With synchronous="full", every event acknowledged
before the cut must be there. With "normal", every event must be there that was acknowledged before the last completed
maintenance began, and no later event without all the earlier ones.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignai.spool import Spool
from tests.faults.power.cut import Disk
from tests.faults.power.recording import cannot_record, record
from tests.faults.power.worker import FACTS, MAX_BYTES, NAME, PROJECT, payload
from tests.support.memory import in_memory
from tests.support.spool_file import ask

if TYPE_CHECKING:
    from tests.faults.scenario import Run, Trial

STEPS = 120
CUTS = 400
_STALE_INDEX = 32768
MARK = b"SQLite format 3"

Facts = list[dict[str, Any]]


def run(run: Run) -> None:
    """Record a worker's life and cut its power at many moments of it."""
    if why := cannot_record():
        run.count(**{f"times not tried, {why}": 1})
        return
    for trial in run.trials():
        with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
            cut_often(run, trial, Path(folder).resolve(), trial.rng.choice(["normal", "full"]), CUTS)


def cut_often(run: Run, trial: Trial, folder: Path, synchronous: str, cuts: int, promised: str = "") -> None:
    """
    Record one life of a worker and check the disk after *cuts* power cuts.

    Args:
        run: The run that counts the figures.
        trial: The trial, the source of all randomness.
        folder: An empty folder.
        synchronous: The worker's setting.
        cuts: The number of power cuts.
        promised: The setting whose promise is checked, if it is not *synchronous*.
    """
    live = folder / "live"
    live.mkdir()
    steps = record("tests.faults.power.worker", live, trial.seed, synchronous, STEPS)
    moments = Counter(trial.rng.randrange(len(steps)) for _ in range(cuts))
    disk, written = Disk(), b""
    for number, step in enumerate(steps):
        disk.take(step)
        if step.name == "write" and step.path.endswith(FACTS) and step.begins is not False:
            written += step.data
        for _ in range(moments[number]):
            facts = [json.loads(line) for line in written.splitlines()]
            _Cut(trial, number, facts, promised or synchronous).judge(folder / "cut", disk)
    for path in (live / NAME, live / f"{NAME}-wal"):
        trial.check(f"the recording of {path.name} is whole", holds=disk.now().get(path.name) == _content(path))
    kinds = Counter(step.name for step in steps)
    run.count(**{synchronous: cuts}, cuts=cuts, writes=kinds["write"], syncs=kinds["sync"])


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


class _Cut:
    """One power cut, and the events that must be there after it."""

    def __init__(self, trial: Trial, number: int, facts: Facts, synchronous: str) -> None:
        self._trial = trial
        self._where = f"{synchronous}, cut after step {number}"
        self._facts = facts
        self._durable = facts if synchronous == "full" else facts[: _last_maintained(facts)]

    def judge(self, folder: Path, disk: Disk) -> None:
        """Open a possible state of the disk and compare."""
        self._put(folder, disk)
        spool = Spool(folder / NAME, project_id=PROJECT, max_bytes=MAX_BYTES)
        try:
            # Commits behind one that did not reach the disk may be quarantined, but never the file.
            quarantined = [each for each in folder.glob(f"{NAME}.corrupt-*") if each.read_bytes().startswith(MARK)]
            self._check(f"the file is not quarantined: {[*spool.notices()]}", holds=not quarantined)
            self._check("it is sound", holds=spool.check() == [])
            self._rows(spool, folder / NAME)
            self._ledger(folder / NAME)
            self._goes_on(spool)
        finally:
            spool.close()
        shutil.rmtree(folder)

    def _check(self, what: str, *, holds: bool) -> None:
        self._trial.check(f"{what} ({self._where})", holds=holds)

    def _put(self, folder: Path, disk: Disk) -> None:
        folder.mkdir()
        for name, content in disk.cut(self._trial.rng).items():
            if name in (NAME, f"{NAME}-wal", f"{NAME}-journal"):
                (folder / name).write_bytes(content)
        if (folder / NAME).exists() and self._trial.rng.random() < 0.3:
            # The wal-index is mapped memory, so anything may be left of it.
            (folder / f"{NAME}-shm").write_bytes(self._trial.rng.randbytes(_STALE_INDEX))

    def _rows(self, spool: Spool, path: Path) -> None:
        newest = spool.last_seq()
        acknowledged = {fact["seq"]: fact for fact in self._facts if fact["what"] == "appended"}
        durable = max((fact["seq"] for fact in self._durable if fact["what"] == "appended"), default=0)
        self._check(f"row {durable} is there, the newest is {newest}", holds=newest >= durable)
        unsettled = dict(ask(path, UNSETTLED))
        rejected = dict(ask(path, "SELECT seq, payload FROM rejected"))
        for seq, content in {**unsettled, **rejected}.items():
            fact = acknowledged.get(seq)
            whole = payload(fact["number"], fact["size"]) if fact else content
            self._check(f"row {seq} is as it was appended", holds=content == whole)
        stats = spool.stats()
        counted = stats.pending + stats.in_flight + stats.sent + stats.rejected + stats.dropped
        self._check(f"every row is counted once: {stats}", holds=counted == newest)
        gone = {*range(1, newest + 1)} - {*unsettled} - {*rejected} - self._given_to_the_server()
        self._check(f"only dropped events are gone: {gone}", holds=len(gone) <= stats.dropped)

    def _given_to_the_server(self) -> set[int]:
        sent = [fact for fact in self._facts if fact["what"] == "ending" and fact["kind"] == "sent"]
        return {seq for fact in sent for seq in range(fact["first"], fact["last"] + 1)}

    def _ledger(self, path: Path) -> None:
        """Check that open batches keep their request ids, and that settled ones are not sent again."""
        still_open = {request for (request,) in ask(path, "SELECT request_id FROM batches WHERE state = 'open'")}
        ending = {fact["request"] for fact in self._facts if fact["what"] == "ending" and fact["kind"] != "failed"}
        for fact in self._durable:
            if fact["what"] == "opened" and fact["request"] not in ending:
                self._check(f"batch {fact['first']} keeps its request id", holds=fact["request"] in still_open)
            if fact["what"] == "ended" and fact["kind"] != "failed":
                self._check(f"batch {fact['first']} keeps its outcome", holds=fact["request"] not in still_open)

    def _goes_on(self, spool: Spool) -> None:
        newest = spool.last_seq()
        self._check("no row number is used twice", holds=spool.append(b"more") == newest + 1)
        batch = spool.next_batch(10, 100_000)
        self._check("there is a batch", holds=batch is not None)
        if batch:
            spool.mark_sent(batch)
        spool.maintain()
        self._check("it stays sound", holds=spool.check() == [])


UNSETTLED = """
SELECT seq, payload FROM events
WHERE seq > coalesce((SELECT last FROM batches ORDER BY first DESC LIMIT 1), 0)
OR EXISTS (SELECT 1 FROM batches WHERE state = 'open' AND seq BETWEEN first AND last)
"""


def _last_maintained(facts: Facts) -> int:
    """Return the number of the fact at which the last completed maintenance began."""
    began = over = 0
    for number, fact in enumerate(facts):
        if fact["what"] == "maintaining":
            began = number
        elif fact["what"] == "maintained":
            over = began
    return over
