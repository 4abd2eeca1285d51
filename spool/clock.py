"""The clock that waits are measured by, and a sleep for a caller that holds a mutex."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Test tools such as freezegun replace `time.monotonic` and `time.perf_counter`. While such a clock stands still, a
# deadline never comes and a wait never ends. No such tool replaces `time.clock_gettime` for this clock.
monotonic: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_MONOTONIC) if hasattr(time, "clock_gettime") else time.monotonic
)
"""Return the seconds of a clock that is never set back, for differences only."""

sleep: Final = time.sleep
"""
Sleep as `time.sleep` does, for a caller that holds a mutex.

gevent may replace `time.sleep` after this import by one that runs other greenlets meanwhile. A mutex that was made
before does not tell the greenlets of a thread apart, and another one would go on as if it held the mutex itself.
"""
