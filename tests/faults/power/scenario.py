"""
The power is cut: at any moment, whatever the disk had made of the writes that were not synced by then.

A worker's writes and syncs are recorded, and what the disk may hold after a cut is rebuilt from them, many times. Each
such disk must open as a sound spool that goes on working. Of what was acknowledged before the cut, there must be
everything with synchronous="full"; with "normal", everything that was acknowledged before the last upkeep that was
over, and no later event without all the earlier ones.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignai.spool import Spool
from tests.faults.power.cut import Disk
from tests.faults.power.recording import cannot_record, record
from tests.faults.power.worker import MAX_BYTES, NAME, PROJECT, SAID, payload
from tests.support.spool_file import ask

if TYPE_CHECKING:
    from tests.faults.scenario import Run, Trial

STEPS = 120
CUTS = 400
_STALE_INDEX = 32768
MARK = b"SQLite format 3"

Said = list[dict[str, Any]]


def run(run: Run) -> None:
    """Record a worker's life and cut its power at many moments of it."""
    if why := cannot_record():
        run.count(**{f"times not tried, {why}": 1})
        return
    for trial in run.trials():
        with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
            cut_often(run, trial, Path(folder).resolve(), trial.rng.choice(["normal", "full"]), CUTS)


def in_memory() -> Path | None:
    """A folder whose syncs cost nothing, where there is one: what they do is seen in the recording all the same."""
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) else None


def cut_often(run: Run, trial: Trial, folder: Path, synchronous: str, cuts: int, promised: str = "") -> None:
    """
    Record one life, and look at the disk after so many cuts.

    Args:
        run: Where it is counted.
        trial: What is random comes from it.
        folder: An empty one.
        synchronous: How the worker opens the spool.
        cuts: How many.
        promised: What *synchronous* is held to, where that is not itself.
    """
    live = folder / "live"
    live.mkdir()
    steps = record("tests.faults.power.worker", live, trial.seed, synchronous, STEPS)
    moments = Counter(trial.rng.randrange(len(steps)) for _ in range(cuts))
    disk, said = Disk(), b""
    for number, step in enumerate(steps):
        disk.take(step)
        if step.name == "write" and step.path.endswith(SAID) and step.begins is not False:
            said += step.data
        for _ in range(moments[number]):
            facts = [json.loads(line) for line in said.splitlines()]
            _Cut(trial, number, facts, promised or synchronous).judge(folder / "cut", disk)
    for path in (live / NAME, live / f"{NAME}-wal"):
        trial.check(f"the recording of {path.name} is whole", holds=disk.now().get(path.name) == _content(path))
    kinds = Counter(step.name for step in steps)
    run.count(**{synchronous: cuts}, cuts=cuts, writes=kinds["write"], syncs=kinds["sync"])


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


class _Cut:
    """One cut, and what must be there after it."""

    def __init__(self, trial: Trial, number: int, facts: Said, synchronous: str) -> None:
        self._trial = trial
        self._where = f"{synchronous}, cut after step {number}"
        self._facts = facts
        self._durable = facts if synchronous == "full" else facts[: _last_kept_up(facts)]

    def judge(self, folder: Path, disk: Disk) -> None:
        """Open what the disk may hold, and compare."""
        self._put(folder, disk)
        spool = Spool(folder / NAME, project_id=PROJECT, max_bytes=MAX_BYTES)
        try:
            # Commits behind one that did not reach the disk may be set aside, but never the file.
            aside = [each for each in folder.glob(f"{NAME}.corrupt-*") if each.read_bytes().startswith(MARK)]
            self._check(f"the file is not set aside: {[*spool.notices()]}", holds=not aside)
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
            # The log's index is mapped memory: what is left of it may be anything.
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
            self._check(f"row {seq} is what was appended", holds=content == whole)
        stats = spool.stats()
        counted = stats.pending + stats.in_flight + stats.sent + stats.rejected + stats.dropped
        self._check(f"every row is counted once: {stats}", holds=counted == newest)
        gone = {*range(1, newest + 1)} - {*unsettled} - {*rejected} - self._given_to_the_server()
        self._check(f"only what was dropped is gone: {gone}", holds=len(gone) <= stats.dropped)

    def _given_to_the_server(self) -> set[int]:
        sent = [fact for fact in self._facts if fact["what"] == "ending" and fact["kind"] == "sent"]
        return {seq for fact in sent for seq in range(fact["first"], fact["last"] + 1)}

    def _ledger(self, path: Path) -> None:
        """What may have reached the server is as it was, and what has an outcome is not sent again."""
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
        spool.upkeep()
        self._check("it stays sound", holds=spool.check() == [])


UNSETTLED = """
SELECT seq, payload FROM events
WHERE seq > coalesce((SELECT last FROM batches ORDER BY first DESC LIMIT 1), 0)
OR EXISTS (SELECT 1 FROM batches WHERE state = 'open' AND seq BETWEEN first AND last)
"""


def _last_kept_up(facts: Said) -> int:
    """Where the last upkeep that was over began."""
    began = over = 0
    for number, fact in enumerate(facts):
        if fact["what"] == "keeping up":
            began = number
        elif fact["what"] == "kept up":
            over = began
    return over
