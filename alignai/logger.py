"""The SDK's logger, under the vendor's import path."""

from __future__ import annotations

import logging


def get_logger(level: int | str) -> logging.Logger:
    """Return the logger of the SDK, set to *level*; handlers are left to the program, as with any library."""
    logger = logging.getLogger("alignai")
    logger.setLevel(level)
    return logger
