"""A close that is interrupted, and not repeated, keeps no thread and no connection."""

from __future__ import annotations

import random
from pathlib import Path

import alignai
from tests.delivery.test_sender import LONG, threads
from tests.support.clients import client, record
from tests.support.interrupts import interrupt
from tests.support.waiting import wait_until

SDK = str(Path(alignai.__file__).parent)


def test_threads_end_if_close_is_interrupted_at_any_line(tmp_path: Path) -> None:
    rng = random.Random(11)
    kept = []
    at, where = 0, "at first"
    while where:
        at += 1 if at < 30 else rng.randrange(1, 60)
        sdk = client("http://127.0.0.1:1", tmp_path / f"{at}.db", flush_interval_ms=LONG)
        record(sdk, 1)
        where = interrupt(lambda sdk=sdk: sdk.close(0), at, KeyboardInterrupt, (SDK,))  # type: ignore[misc] # bound at once
        if not sdk._recorder.closed:
            sdk.close(0)  # it was interrupted before it began
        kept.append(sdk)
    assert len(kept) > 5

    wait_until(lambda: not threads())
    wait_until(lambda: all(sdk._spool._database.closed for sdk in kept))
