"""A clock that can be moved, put under the SDK; servers and tests keep the real one."""

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
    How far the SDK's clocks are from the real ones, in seconds.

    Attributes:
        wall: The wall clock; it may be moved both ways.
        ahead: The monotonic clock; it may only go on.
    """

    wall: float = 0.0
    ahead: float = 0.0

    def time(self) -> float:
        return time.time() + self.wall

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def __getattr__(self, name: str) -> Any:
        """It stands for the module `time`, too."""
        return getattr(time, name)


@contextmanager
def movable() -> Iterator[Clock]:
    """A clock that every module of the SDK goes by meanwhile."""
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
    """Where datetimes are told from other values, and none is asked for the time."""
    return getattr(module, "__name__", "") == f"{_PACKAGE}._events.schemas"


def _datetime_by(clock: Clock) -> type[datetime]:
    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(clock.time(), tz)

    return Moved
