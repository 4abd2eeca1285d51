"""The short form of the scenario "disk": every kind of failure that this machine allows, once."""

from __future__ import annotations

import pytest

from tests.faults.disk import scenario as disk
from tests.faults.scenario import Run


@pytest.mark.parametrize("number", range(len(disk.FAILURES)), ids=disk.FAILURES)
def test_acknowledged_events_arrive_if_the_disk_fails(number: int) -> None:
    way, (_, cannot) = list(disk.FAILURES.items())[number]
    if why := cannot():
        pytest.skip(why)
    run = Run("disk", seed=1, seconds=0, only=number)
    disk.run(run)

    assert run.figures[way] == 1
    assert run.figures["acknowledged"] >= 20
