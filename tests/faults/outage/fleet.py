"""
A fleet after an outage: the times at which a thousand clients come back, by the waits that `Backoff` draws.

`python -m tests.faults.outage.fleet` prints the curve.
"""

from __future__ import annotations

import random
from collections import Counter
from unittest.mock import patch

from alignai._delivery.backoff import Backoff

CLIENTS = 1000
OUTAGE_SECONDS = 3600.0
_BAR_SECONDS = 5
_BAR_CLIENTS = 2
_UPLOAD_SECONDS = 0.05


def arrivals(seed: int, clients: int = CLIENTS, outage: float = OUTAGE_SECONDS) -> list[float]:
    """
    Return the seconds from the end of the outage to the first successful attempt of each client, sorted.

    All clients notice the outage within the same second, which is the worst case.
    """
    rng = random.Random(seed)
    with patch("alignai._delivery.backoff.random", rng):
        return sorted(_comes_back(rng.random(), outage) for _ in range(clients))


def _comes_back(noticed: float, outage: float) -> float:
    backoff = Backoff()
    now = noticed
    while now < outage:
        now += _UPLOAD_SECONDS + backoff.next()
    return now - outage


def busiest(times: list[float], seconds: float = 1.0) -> int:
    """Return the maximum number of arrivals in any span of *seconds*."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def curve(times: list[float]) -> str:
    """Format the arrivals as one bar for every few seconds."""
    bars = Counter(int(at // _BAR_SECONDS) for at in times)
    lines = [
        f"{bar * _BAR_SECONDS:4}-{(bar + 1) * _BAR_SECONDS:<3} s {bars[bar]:5} {'#' * (bars[bar] // _BAR_CLIENTS)}"
        for bar in range(max(bars) + 1)
    ]
    return "\n".join([*lines, f"busiest second: {busiest(times)} of {len(times)} clients"])


if __name__ == "__main__":
    print(curve(arrivals(seed=1)))
