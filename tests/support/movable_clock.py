"""A clock for the SDK that can be moved. Servers and tests keep the real one."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import alignai.clock
import alignai.spool.clock

if TYPE_CHECKING:
    from collections.abc import Iterator

YEAR = 365.25 * 86400
_PACKAGE = "alignai"


@dataclass(eq=False)
class Clock:
    """
    The offsets of the SDK's clocks from the real ones, in seconds.

    Attributes:
        wall: The offset of the wall clock, which may be moved both ways.
        ahead: The offset of the monotonic clock, which may only grow.
    """

    wall: float = 0.0
    ahead: float = 0.0

    def time(self) -> float:
        return time.time() + self.wall

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def __getattr__(self, name: str) -> Any:
        """Return other names of the module `time`, which the clock replaces too."""
        return getattr(time, name)


@contextmanager
def movable() -> Iterator[Clock]:
    """Yield a clock that every module of the SDK uses inside the block."""
    clock = Clock()
    held = dict.fromkeys((alignai.clock.monotonic, alignai.spool.clock.monotonic), clock.monotonic)
    instead = {time: clock, time.time: clock.time, datetime: _datetime_by(clock), **held}
    with ExitStack() as patches:
        for module in [module for name, module in sys.modules.items() if name.split(".")[0] == _PACKAGE]:
            for name, value in list(vars(module).items()):
                if name in ("time", "monotonic", "datetime") and value in instead and not _checks_types(module):
                    patches.enter_context(patch.object(module, name, instead[value]))
        yield clock


def _checks_types(module: object) -> bool:
    """Return True for the module that checks for datetimes and reads no clock."""
    return getattr(module, "__name__", "") == f"{_PACKAGE}._events.schemas"


def _datetime_by(clock: Clock) -> type[datetime]:
    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(clock.time(), tz)

    return Moved
