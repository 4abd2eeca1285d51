"""The short form of the scenario "clocks", and its special cases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from alignai._transport.response import Response
from alignai.spool import Spool
from tests.faults.clocks.scenario import run as run_clocks
from tests.faults.scenario import Run
from tests.support.clients import PROJECT
from tests.support.movable_clock import YEAR, Clock, movable
from tests.support.spool_file import payloads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def clock() -> Iterator[Clock]:
    with movable() as moved:
        yield moved


def test_nothing_is_lost_and_nothing_waits_for_a_clock_that_jumps() -> None:
    run = Run("clocks", seed=2, seconds=0, most=1)
    run_clocks(run)
    assert run.figures["outages"] > 0
    assert run.figures["events"] > 100
    assert run.figures["jumps"] > 10


@pytest.mark.parametrize("moved", [-30 * YEAR, 30 * YEAR])
def test_sent_events_give_room_to_new_ones_under_any_clock(spool_path: Path, clock: Clock, moved: float) -> None:
    spool = Spool(spool_path, project_id=PROJECT, max_bytes=1 << 20)
    for _ in range(5):
        spool.append(b"." * 100_000)
        batch = spool.next_batch(10, 1 << 20)
        assert batch
        spool.mark_sent(batch)
        spool.maintain()
    clock.wall = moved
    for _ in range(20):
        spool.append(b"." * 20_000)
    spool.close()


def test_a_small_clock_correction_does_not_shorten_the_retention(spool_path: Path, clock: Clock) -> None:
    spool = Spool(spool_path, project_id=PROJECT, retention=60)
    spool.append(b"event")
    batch = spool.next_batch(10, 1 << 20)
    assert batch
    spool.mark_sent(batch)
    clock.wall = -1.0
    spool.maintain()
    assert payloads(spool_path) == [b"event"]
    clock.wall = 61.0
    spool.maintain()
    assert payloads(spool_path) == [b""]
    spool.close()


def retry_after(asked: datetime, server_says: datetime | None) -> float:
    headers = {"retry-after": format_datetime(asked, usegmt=True)}
    if server_says:
        headers["date"] = format_datetime(server_says, usegmt=True)
    return Response(503, "", headers, b"").retry_after


@pytest.mark.parametrize("moved", [-30 * YEAR, -60.0, 0.0, 60.0, 30 * YEAR])
def test_a_date_to_come_back_at_goes_by_the_servers_own_clock(clock: Clock, moved: float) -> None:
    clock.wall = moved
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert retry_after(now + timedelta(seconds=90), now) == 90
    assert retry_after(now - timedelta(seconds=90), now) == 0


@pytest.mark.parametrize(("moved", "least", "most"), [(-30 * YEAR, 600, 600), (0.0, 80, 90), (30 * YEAR, 0, 0)])
def test_without_the_servers_clock_it_is_within_ten_minutes(
    clock: Clock, moved: float, least: float, most: float
) -> None:
    clock.wall = moved
    assert least <= retry_after(datetime.now(UTC) + timedelta(seconds=90), None) <= most
