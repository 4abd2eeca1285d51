"""Records AI conversations for Align, and never loses an event: each is committed to disk before the call returns."""

from importlib import import_module
from typing import TYPE_CHECKING

from alignai._version import __version__

if TYPE_CHECKING:
    from alignai import api_client as api_client
    from alignai import client as client
    from alignai import config as config
    from alignai import constants as constants
    from alignai import exception as exception
    from alignai import logger as logger
    from alignai import results as results
    from alignai import spool as spool
    from alignai import utils as utils
    from alignai import validate as validate
    from alignai._transport.api_client import APIClient as APIClient
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

_MODULES = {
    "alignai.api_client": ("APIClient",),
    "alignai.client": ("AlignAI",),
    "alignai.config": ("Config",),
    "alignai.constants": (),
    "alignai.exception": ("APIError", "AlignAIError", "ClosedError", "ConfigError"),
    "alignai.logger": (),
    "alignai.results": ("ClientStats", "FlushResult"),
    "alignai.spool": (
        "SpoolBusyError",
        "SpoolCorruptError",
        "SpoolError",
        "SpoolFullError",
        "SpoolMismatchError",
        "SpoolVersionError",
    ),
    "alignai.utils": (),
    "alignai.validate": ("ValidationError",),
}
"""The public modules and the names that this package exports, imported at the first use (PEP 562): `python -m
alignai.spool inspect` imports this package, too, and does without the client, marshmallow and requests."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value  # found without this function from now on
        return value
    if f"alignai.{name}" in _MODULES:
        return import_module(f"alignai.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *(module.removeprefix("alignai.") for module in _MODULES)})
