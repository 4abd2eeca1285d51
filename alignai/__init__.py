"""Records AI conversations for Align, and never loses an event: each is committed to disk before the call returns."""

from alignai._version import __version__
from alignai.client import AlignAI
from alignai.config import Config
from alignai.exception import AlignAIError, APIError, ClosedError, ConfigError
from alignai.results import ClientStats, FlushResult
from alignai.spool import (
    SpoolBusyError,
    SpoolCorruptError,
    SpoolError,
    SpoolFullError,
    SpoolMismatchError,
    SpoolVersionError,
)
from alignai.validate import ValidationError

__all__ = [
    "APIError",
    "AlignAI",
    "AlignAIError",
    "ClientStats",
    "ClosedError",
    "Config",
    "ConfigError",
    "FlushResult",
    "SpoolBusyError",
    "SpoolCorruptError",
    "SpoolError",
    "SpoolFullError",
    "SpoolMismatchError",
    "SpoolVersionError",
    "ValidationError",
    "__version__",
]
