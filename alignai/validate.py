"""The error of an argument that cannot be recorded, under the vendor's import path."""

from __future__ import annotations

from alignai.exception import AlignAIError


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
