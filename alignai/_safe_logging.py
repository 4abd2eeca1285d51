"""Logging that never fails: handlers and filters are code of the program, and may raise."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from alignai._interruption import is_interruption

if TYPE_CHECKING:
    LoggerAdapter = logging.LoggerAdapter[logging.Logger]
else:
    LoggerAdapter = logging.LoggerAdapter


class SafeLogger(LoggerAdapter):
    """A logger that raises nothing by itself: a record that cannot be logged is dropped."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log the record. Drop it if a filter or a handler of the program raises."""
        try:
            self.logger.log(level, msg, *args, **{"stacklevel": 3, **kwargs})
        except Exception as error:  # it would end a background thread, or fail an event that is committed
            if is_interruption(error):
                raise


logger = SafeLogger(logging.getLogger("alignai"), {})
