"""The short form of the scenario "kill", and the most critical crash points one by one."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alignai.spool import Spool
from alignai.spool.storage import preparation
from alignai.spool.storage.sqlite import connect
from tests.faults.kill import salvage as kill_salvage
from tests.faults.kill import scenario as kill
from tests.faults.kill.crash_points import CREATING, ENDING, KEEPING, POINTS, step_of
from tests.faults.kill.oracle import Story, conserved
from tests.faults.kill.plan import Plan
from tests.faults.kill.server import FaultyServer
from tests.faults.scenario import Run, Trial
from tests.support.clients import PROJECT
from tests.support.waiting import BUSY_TIMEOUT_SECONDS

if TYPE_CHECKING:
    import sqlite3

    from tests.support.servers.connect import ConnectServer


def test_workers_that_die_at_any_instant_lose_nothing() -> None:
    run = Run("kill", seed=1, seconds=0, only=15)
    kill.run(run)
    assert run.figures["workers"] == run.figures["kills"] + run.figures["ends"] == 8
    assert run.figures["kills"] >= 3
    assert run.figures["events"] > 0


@pytest.mark.parametrize(
    "point",
    [
        "before commit of the first table",
        "after append",
        "after commit of opening a batch",
        "before settling a batch",
        "after splitting a batch",
        "after a checkpoint",
    ],
)
def test_a_worker_that_dies_at_a_crash_point_loses_nothing(
    point: str, connect_server: ConnectServer, tmp_path: Path
) -> None:
    trial = Trial(point, random.Random(point))
    plan = Plan.drawn(trial.rng, point)
    fate = replace(plan.at_point(trial.rng, tmp_path / "journal", point, times=1), instant=BUSY_TIMEOUT_SECONDS)
    with FaultyServer(connect_server, point, failing=0, away=0, most=plan.most):
        returncode, _ = kill.live(fate, connect_server.url, tmp_path / "spool.db")
    story = Story()
    story.add(fate.orders, (tmp_path / "journal").read_text().splitlines())
    assert (story.died, returncode) == ([point], -9)
    assert conserved(trial, story, connect_server, tmp_path / "spool.db", **plan.config) > 0


@pytest.mark.parametrize("point", ["after requeueing", "before commit of purging rejected events"])
def test_a_process_that_dies_at_a_step_beside_workers_loses_nothing(
    point: str, connect_server: ConnectServer, tmp_path: Path
) -> None:
    trial = Trial(point, random.Random(point))
    plan = Plan.drawn(trial.rng, point)
    fates = [plan.provider(tmp_path / "worker"), plan.at_point(trial.rng, tmp_path / "keeper", point, times=2)]
    fates[1] = replace(fates[1], instant=BUSY_TIMEOUT_SECONDS)
    story = Story()
    with FaultyServer(connect_server, point, failing=0, away=0, most=plan.most):
        with ThreadPoolExecutor(2) as threads:
            ends = list(threads.map(lambda fate: kill.live(fate, connect_server.url, tmp_path / "spool.db"), fates))
        for fate in fates:
            story.add(fate.orders, Path(fate.orders.journal).read_text().splitlines())
    assert (story.died, [returncode for returncode, _ in ends]) == ([point], [0, -9])
    assert conserved(trial, story, connect_server, tmp_path / "spool.db", **plan.config) > 0


def test_salvages_that_die_at_any_instant_harm_nothing(tmp_path: Path) -> None:
    run = Run("kill", seed=1, seconds=0)
    died = kill_salvage.one_trial(run, Trial("1", random.Random(1)), tmp_path)
    assert kill_salvage.DEATHS >= run.figures["kills"] >= len(died) >= 2


@pytest.mark.parametrize(
    "point",
    [
        "after making the file",
        "after append",
        "before commit of opening a batch",
        "after a checkpoint",
        "before naming what was salvaged",
        "after naming what was salvaged",
    ],
)
def test_a_salvage_that_dies_at_a_crash_point_harms_nothing(point: str, tmp_path: Path) -> None:
    trial = Trial(point, random.Random(point))
    assert kill_salvage.one_death(trial, point, tmp_path) == point


CUT_SHORT = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
db.execute("CREATE TABLE half (done)")
db.execute("INSERT INTO half VALUES (randomblob(100000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_dies_creating_the_file_does_not_stop_another(
    spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead: list[int] = []

    def connect_after_a_death(path: Path, **options: Any) -> sqlite3.Connection:
        if not dead:
            dead.append(subprocess.run([sys.executable, "-c", CUT_SHORT, str(path)], check=False).returncode)
        return connect(path, **options)

    monkeypatch.setattr(preparation, "connect", connect_after_a_death)
    spool = Spool(spool_path, project_id=PROJECT)
    assert spool.append(b"event") == 1
    spool.close()
    assert dead == [-9]


def test_each_crash_point_names_a_step() -> None:
    assert {*CREATING, *ENDING, *KEEPING} < {step_of(point) for point in POINTS}
