"""The short form of the scenario "power", and a proof that its oracle notices losses."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest

from tests.faults.power.recording import cannot_record
from tests.faults.power.scenario import cut_often
from tests.faults.scenario import Run, Trial
from tests.support.memory import in_memory

pytestmark = pytest.mark.skipif(bool(cannot_record()), reason=cannot_record())


def cut(synchronous: str, cuts: int, seed: int, promised: str = "") -> Run:
    run = Run("power", seed, 0)
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        trial = Trial(f"{seed}/power/0", random.Random(seed))
        cut_often(run, trial, Path(folder).resolve(), synchronous, cuts, promised)
    return run


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_promised_events_survive_a_power_cut_at_any_moment(synchronous: str) -> None:
    run = cut(synchronous, 100, 1)
    assert run.figures["cuts"] == 100
    assert run.figures["syncs"] > 20
    assert run.figures["writes"] > 200


def test_the_oracle_notices_the_losses_of_synchronous_normal() -> None:
    with pytest.raises(AssertionError, match=r"row \d+ is there|request id|outcome"):
        cut("normal", 100, 1, promised="full")
