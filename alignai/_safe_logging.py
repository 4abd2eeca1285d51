"""Logging that cannot hurt the caller: handlers and filters are the program's own code, and may raise."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    LoggerAdapter = logging.LoggerAdapter[logging.Logger]
else:
    LoggerAdapter = logging.LoggerAdapter


class SafeLogger(LoggerAdapter):
    """A logger that never raises: a record that cannot be logged is dropped, and the work goes on."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log the record; drop it if a filter or a handler of the program raises."""
        try:
            self.logger.log(level, msg, *args, **{"stacklevel": 3, **kwargs})
        except Exception:  # noqa: BLE001 - it would end a background thread, or fail an event that is committed
            return


logger = SafeLogger(logging.getLogger("alignai"), {})
