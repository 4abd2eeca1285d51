"""The short form of the scenario "outage"."""

from __future__ import annotations

from tests.faults.outage import scenario as outage
from tests.faults.scenario import Run


def test_an_hour_without_a_server_costs_no_events_memory_or_speed() -> None:
    run = Run("outage", seed=1, seconds=0)
    for trial in run.trials():
        outage.one_trial(run, trial, rows=20_000, steps=6)
    assert run.figures["attempts"] >= 7
