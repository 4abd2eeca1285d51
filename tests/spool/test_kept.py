"""Spools of every version of the format open for ever, and nothing in them is lost."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from alignai.spool import Spool
from alignai.spool.format import VERSION
from alignai.spool.salvage import salvage
from tests.spool.kept import IN_FLIGHT, MUCH, PENDING, PROJECT, REJECTED, SENT, event, kept
from tests.spool.look import ask

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = range(1, VERSION + 1)
UNSENT = [event(SENT + REJECTED + 1 + index) for index in range(IN_FLIGHT + PENDING)]
# Of the batches in flight: they never change.
REQUEST_IDS = {1: ["ed2c3d9cb45c4bd08d185bc7f4f991f5", "2e5669c656e84c8781081d3e5385c8ff"]}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def old(version: int, path: Path) -> Path:
    """A copy of a kept spool."""
    shutil.copy(kept(version), path)
    return path


def drained(spool: Spool) -> tuple[list[str], list[bytes]]:
    """The request ids of the first two batches, and all that was unsent, in order."""
    ids: list[str] = []
    payloads: list[bytes] = []
    while batch := spool.next_batch(50, MUCH):
        ids.append(batch.request_id)
        payloads += batch.payloads
        spool.mark_sent(batch)
    return ids[:2], payloads


def test_an_old_spool_opens_with_everything_in_it(old: Path, version: int) -> None:
    spool = Spool(old, project_id=PROJECT)
    stats = spool.stats()

    assert (stats.pending, stats.in_flight, stats.sent, stats.rejected) == (PENDING, IN_FLIGHT, SENT, REJECTED)
    assert spool.check() == []
    assert drained(spool) == (REQUEST_IDS[version], UNSENT)
    assert ask(old, "PRAGMA user_version") == [(VERSION,)]
    spool.close()


def test_an_old_spool_is_gone_on_with(old: Path) -> None:
    spool = Spool(old, project_id=PROJECT)

    assert spool.append(b"new") == SENT + REJECTED + IN_FLIGHT + PENDING + 1
    assert drained(spool)[1] == [*UNSENT, b"new"]
    spool.upkeep()
    assert spool.check() == []
    spool.close()


def test_an_old_spool_is_salvaged_with_everything_in_it(old: Path, version: int) -> None:
    before = old.read_bytes()
    new = old.with_name("new.db")
    salvaged = salvage(old, new)

    assert (salvaged.pending, salvaged.in_flight, salvaged.rejected) == (PENDING, IN_FLIGHT, REJECTED)
    assert (salvaged.project_id, salvaged.left_out, salvaged.complete) == (PROJECT, SENT, True)
    assert old.read_bytes() == before
    spool = Spool(new, project_id=PROJECT)
    assert drained(spool) == (REQUEST_IDS[version], UNSENT)
    assert ask(new, "SELECT payload, reason FROM rejected ORDER BY seq") == [
        (event(SENT + 1 + index), "the server's words") for index in range(REJECTED)
    ]
    assert spool.check() == []
    spool.close()
