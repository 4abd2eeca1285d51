"""The short form of the campaign's point "interrupt"."""

from __future__ import annotations

from tests.faults.interrupt import scenario as interrupt
from tests.faults.scenario import Run


def test_calls_that_are_interrupted_at_any_line_concern_no_other() -> None:
    run = Run("interrupt", seed=1, seconds=0, most=1)
    interrupt.run(run)

    assert run.figures["interrupted"] > 5
