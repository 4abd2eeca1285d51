"""
Kill: workers die at random instants and at named steps, under a server that fails, and no event is lost.

A trial has one spool, generations of workers on it (writers, uploaders, both at once), and a server that fails. Each
worker is killed at a random instant, dies at a crash point, is terminated, or ends by itself. Then the faults stop and
`oracle.py` compares the results. Some trials are of salvage instead.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.kill import salvage as kill_salvage
from tests.faults.kill.crash_points import POINTS
from tests.faults.kill.oracle import Story, conserved
from tests.faults.kill.plan import Fate, Plan
from tests.faults.kill.server import FaultyServer
from tests.support.clients import worker
from tests.support.servers.connect import ConnectServer
from tests.support.waiting import BUSY_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from tests.faults.scenario import Run, Trial

SCRIPT = "from tests.faults.kill.worker import main; main()"


SALVAGES = 10
"""One of this many trials is of salvage."""


def run(run: Run) -> None:
    """Kill workers until the time is used up."""
    reached: set[str] = set()
    for trial in run.trials():
        with tempfile.TemporaryDirectory() as folder, ConnectServer() as server:
            if _number(trial) % SALVAGES == SALVAGES - 1:
                reached.update(kill_salvage.one_trial(run, trial, Path(folder)))
            else:
                reached.update(one_trial(run, trial, Path(folder), server))
        run.figures["points"] = len(reached)


def one_trial(run: Run, trial: Trial, folder: Path, server: ConnectServer) -> list[str]:
    """Run some generations of workers on one spool and return the crash points at which they died."""
    rng = trial.rng
    spool_path = folder / "spool.db"
    story = Story()
    plan = Plan.drawn(rng, aim=POINTS[_number(trial) % len(POINTS)])
    with FaultyServer(server, trial.seed, failing=plan.failing, away=plan.away, most=plan.most) as faulty:
        for generation in range(plan.generations):
            fates = plan.generation(rng, generation, folder)
            with ThreadPoolExecutor(len(fates)) as threads:
                ends = list(threads.map(lambda fate: live(fate, server.url, spool_path), fates))
            for fate, end in zip(fates, ends, strict=True):
                _record_end(run, trial, story, fate, end)
    events = conserved(trial, story, server, spool_path, **plan.config)
    run.count(
        leftovers=sum(each.name.startswith(".") for each in folder.iterdir())
    )  # unfinished files of killed processes
    run.count(events=events, uploads=len(server.requests), downtimes=faulty.downtimes)
    run.count(repeats=len(server.ids()) - len(set(server.ids())))
    return story.died


def _number(trial: Trial) -> int:
    return int(trial.seed.rpartition("/")[2])


def live(fate: Fate, url: str, spool_path: Path) -> tuple[int, str]:
    """Run a worker to its end and return its exit code and its log."""
    with worker(SCRIPT, url, spool_path, fate.orders.encoded(), stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        if fate.together:
            fate.together.wait(BUSY_TIMEOUT_SECONDS)
        if fate.kind in {"killed", "terminated"}:
            time.sleep(fate.instant)
            process.kill() if fate.kind == "killed" else process.terminate()
        try:
            _, logged = process.communicate(timeout=fate.instant if fate.kind == "point" else BUSY_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            _, logged = process.communicate()
    return process.returncode, logged


def _record_end(run: Run, trial: Trial, story: Story, fate: Fate, end: tuple[int, str]) -> None:
    """Add a worker's life to the story and check that it ended as planned, without an error in its log."""
    returncode, logged = end
    journal = Path(fate.orders.journal)
    story.add(fate.orders, journal.read_text().splitlines() if journal.exists() else [])
    allowed = {"killed": (-9, 0), "point": (-9, 0), "terminated": (0, -15), "ending": (0,)}[fate.kind]
    trial.check(f"{fate} ends well, not with {end}", holds=returncode in allowed)
    trial.check(f"{fate} logs no error: {logged}", holds="ERROR" not in logged and "Traceback" not in logged)
    run.count(workers=1, kills=returncode == -9, ends=returncode != -9)
    if story.died and story.died[-1] == fate.orders.point:
        run.count(crash_points=1)
