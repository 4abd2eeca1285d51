"""The error of an argument that cannot be recorded, under the vendor's import path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignai.exception import AlignAIError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ValidationError(AlignAIError, ValueError):
    """
    What was given cannot be recorded; nothing of it has been.

    Args:
        message: All that is wrong, in one line for people.
        errors: The same by argument: its name, and what is wrong with it. Message contents are in neither.

    """

    def __init__(self, message: str, errors: dict[str, list[str]] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.errors = errors or {}


def summary(errors: dict[str, list[str]]) -> str:
    """All of *errors* in one line, as a `ValidationError`'s message has it."""
    return "; ".join(f"{name} {text}" for name, texts in errors.items() for text in texts)


# -- the vendor's checks -----------------------------------------------------------------------------------------------
# The event methods check by themselves.


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
