"""The short form of the campaign's point "damage": every kind of damage at least once."""

from __future__ import annotations

from tests.faults.damage import scenario as damage
from tests.faults.scenario import Run


def test_nothing_is_lost_in_silence_whatever_becomes_of_a_file() -> None:
    run = Run("damage", seed=1, seconds=0)
    damage.run(run)

    assert run.figures["files"] == damage.FILES_A_TRIAL
    assert run.figures["salvage_complete"] > 0
    assert run.figures["worker_told"] > 0
