"""Waits for conditions, with a bound."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from alignai.spool.storage.redo import VERIFY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")
BUSY_TIMEOUT_SECONDS = 20.0
"""Seconds in which a slow machine completes any short operation."""


def wait_until(condition: Callable[[], Found], seconds: float = BUSY_TIMEOUT_SECONDS) -> Found:
    """Wait until *condition* is true and return its value. Fail after *seconds*."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "what the test waits for has not happened"
        time.sleep(0.002)
    return found


def wait_until_verification_is_due() -> None:
    """Let the time pass after which an append checks whether the files of its spool are still in their place."""
    time.sleep(VERIFY_SECONDS + 0.01)
