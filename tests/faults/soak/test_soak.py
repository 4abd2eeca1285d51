"""The short form of the scenario "soak", which proves little more than that it works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.scenario import Run
from tests.faults.soak import scenario as soak

if TYPE_CHECKING:
    import pytest


def test_nothing_grows_while_faults_come_and_go(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run("soak", seed=1, seconds=5, most=1)
    soak.run(run)
    assert run.figures["events"]  # their number depends on the machine
    assert run.figures["kills_of_others"]
    assert capsys.readouterr().out.startswith(soak.HEADING)
