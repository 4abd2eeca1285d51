"""The SDK's logger, under the import path of the official SDK."""

from __future__ import annotations

import logging


def get_logger(level: int | str) -> logging.Logger:
    """Return the logger of the SDK, set to *level*. The program adds handlers, as for any library."""
    logger = logging.getLogger("alignai")
    logger.setLevel(level)
    return logger
