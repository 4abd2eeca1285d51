"""
The errors of the SDK.

* `AlignAIError`
    * `alignai.validate.ValidationError` (also a ValueError)
    * `ConfigError` (also a ValueError)
    * `ClosedError` (also a RuntimeError)
    * `APIError`
    * `alignai.spool.SpoolError`, and its kinds
"""

from __future__ import annotations

from typing import Final

from alignai.spool import AlignAIError, is_interruption

__all__ = ["APIError", "AlignAIError", "ClosedError", "ConfigError", "short_repr"]

_MAX_REPR_LENGTH: Final = 40


class ConfigError(AlignAIError, ValueError):
    """A setting is missing or invalid. Nothing has been started."""


class ClosedError(AlignAIError, RuntimeError):
    """The SDK was used after `close`. Nothing has been recorded."""


class APIError(AlignAIError):
    """
    The server, or a proxy or the network in between, did not accept a request.

    Args:
        status_code: The HTTP status. 0 if there was no HTTP response.
        err_msg: The message of the server, or the reason why there was no response.

    """

    def __init__(self, status_code: int, err_msg: str) -> None:
        super().__init__(status_code, err_msg)
        self.status_code = status_code
        self.err_msg = err_msg

    def __str__(self) -> str:
        return f"HTTP {self.status_code}: {self.err_msg}" if self.status_code else self.err_msg


def short_repr(value: object) -> str:
    """Return the repr of *value* for an error message, cut to 40 characters, or its type if its repr fails."""
    try:
        text = repr(value)
    except Exception as error:  # an invalid value may raise anything here
        if is_interruption(error):
            raise
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_REPR_LENGTH else f"{text[: _MAX_REPR_LENGTH - 3]}..."
