"""Records AI conversations for Align, and never loses an event: each is committed to disk before the call returns."""

from importlib import import_module
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from alignai import logger as logger
    from alignai import utils as utils
    from alignai._transport.api_client import APIClient as APIClient

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

_HOMES = {"APIClient": "alignai.api_client", **dict.fromkeys(("api_client", "logger", "utils"), "alignai")}


def __getattr__(name: str) -> object:
    # The vendor's names that cost time to import, or that few ask for, are imported when they are.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    return getattr(import_module(home), name) if home != __name__ else import_module(f"{home}.{name}")
