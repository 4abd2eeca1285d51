"""Waiting for what happens elsewhere, with a bound."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")
BUSY_TIMEOUT_SECONDS = 20.0
"""Seconds that a slow machine may take for what takes moments."""


def wait_until(condition: Callable[[], Found], seconds: float = BUSY_TIMEOUT_SECONDS) -> Found:
    """Wait until *condition* is true, and return what it says; a failure after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "what the test waits for has not happened"
        time.sleep(0.002)
    return found
