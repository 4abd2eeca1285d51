"""The error of an invalid argument, under the import path of the official SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignai.exception import AlignAIError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ValidationError(AlignAIError, ValueError):
    """
    An argument is invalid. Nothing has been recorded.

    Args:
        message: All errors, in one line for people.
        errors: The same errors, by the name of the argument. Neither holds message contents.

    """

    def __init__(self, message: str, errors: dict[str, list[str]] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.errors = errors or {}


def summary(errors: dict[str, list[str]]) -> str:
    """Return all *errors* in one line, for the message of a `ValidationError`."""
    return "; ".join(f"{name} {text}" for name, texts in errors.items() for text in texts)


# -- the checks of the official SDK ------------------------------------------------------------------------------------
# The event methods do not need them: they check their arguments.


def validate_session_id_or_raise(session_id: str) -> None:
    """Raise a `ValidationError` unless *session_id* can be recorded."""
    _check("session_id", session_id)


def validate_user_id_or_raise(user_id: str) -> None:
    """Raise a `ValidationError` unless *user_id* can be recorded."""
    _check("user_id", user_id)


def validate_custom_properties_or_raise(custom_properties: Mapping[str, str]) -> None:
    """Raise a `ValidationError` unless *custom_properties* can be recorded."""
    _check("custom_properties", custom_properties)


def _check(name: str, value: object) -> None:
    from alignai._events.schemas import check  # noqa: PLC0415 - it imports this module

    check(name, value)
