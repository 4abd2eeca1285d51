"""The short form of the scenario "foreign" (external interference), and cases that random trials do not suit."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.foreign import scenario as foreign
from tests.faults.scenario import Run, Trial
from tests.faults.worker_life import NAME, Life
from tests.support.spool_file import shm, wal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer


def test_acknowledged_events_arrive_despite_external_interference() -> None:
    run = Run("foreign", seed=1, seconds=0)
    foreign.run(run)

    assert run.figures["acknowledged"] > 400


@pytest.mark.parametrize("deleted", ["wal", "wal-index", "both"])
def test_a_single_worker_loses_nothing_if_its_wal_is_deleted(
    tmp_path: Path, connect_server: ConnectServer, deleted: str
) -> None:
    """Nothing is on the server yet, so every event is in the WAL only."""
    life = Life(Trial("none", random.Random(1)), tmp_path, connect_server)
    spool = tmp_path / NAME
    life.holds_back(yes=True)
    with life.worker(spool) as worker:
        life.record(worker, 300)
        for name, path in (("wal", wal(spool)), ("wal-index", shm(spool))):
            if deleted in (name, "both"):
                path.unlink()
        life.record(worker, 300)
        life.holds_back(yes=False)
        life.ends(worker)

    if deleted == "both":  # then the worker cannot know whether another process has recovered already
        life.given_up = set(life.done[:300])
    assert len(life.done) == 620
    assert "was deleted or replaced" in life.in_log()
    life.judge("deleted")


def test_two_containers_share_one_spool(tmp_path: Path, connect_server: ConnectServer) -> None:
    if not foreign.has_containers():
        pytest.skip("no container can be started here")
    life = Life(Trial("none", random.Random(1)), tmp_path, connect_server)
    one, two = (life.worker(tmp_path / NAME, before=foreign.CONTAINER) for _ in range(2))
    with one as first, two as second:
        for worker in (first, second):
            worker.begins("record", count=300, size=300)
        for worker in (first, second):
            life.recorded(worker.ends(life.trial, "record"))
        for worker in (first, second):
            life.ends(worker)

    assert sorted(connect_server.ids()) == sorted(life.done)
    assert len(life.done) == 640
