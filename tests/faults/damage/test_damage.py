"""The short form of the scenario "damage": every kind of damage at least once."""

from __future__ import annotations

from tests.faults.damage import scenario as damage
from tests.faults.scenario import Run


def test_a_damaged_file_loses_nothing_silently() -> None:
    run = Run("damage", seed=1, seconds=0)
    damage.run(run)

    assert run.figures["files"] == damage.FILES_A_TRIAL
    assert run.figures["salvage_complete"] > 0
    assert run.figures["worker_reported"] > 0
