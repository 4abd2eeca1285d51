"""The clients of a fleet do not all come back at once after an outage."""

from __future__ import annotations

import pytest

from tests.faults.outage.fleet import CLIENTS, arrivals, busiest, curve


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_clients_come_back_spread_over_a_minute(seed: int) -> None:
    times = arrivals(seed)
    assert len(times) == CLIENTS
    assert times[0] >= 0
    assert 50 < times[-1] < 61
    # Full jitter up to 60 s: at the end of the outage, about 33 come back in the first second, and fewer in each later.
    assert busiest(times) < 60
    assert sum(at < 30 for at in times) < 0.8 * CLIENTS


@pytest.mark.parametrize("outage", [2.0, 10.0])
def test_all_clients_come_back_soon_after_a_short_outage(outage: float) -> None:
    times = arrivals(1, outage=outage)
    assert times[-1] < 4 * outage
    assert times[CLIENTS // 2] < outage


def test_the_curve_shows_every_client() -> None:
    lines = curve(arrivals(1)).splitlines()
    assert sum(int(line.split(" s ")[1].split()[0]) for line in lines[:-1]) == CLIENTS
