"""The short form of the scenario "interrupt"."""

from __future__ import annotations

from tests.faults.interrupt import scenario as interrupt
from tests.faults.scenario import Run


def test_calls_interrupted_at_any_line_affect_no_other_call() -> None:
    run = Run("interrupt", seed=1, seconds=0, most=1)
    interrupt.run(run)

    assert run.figures["interrupted"] > 5
