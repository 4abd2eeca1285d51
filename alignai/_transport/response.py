"""An HTTP answer, and what can be read from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RETRY_AFTER: Final = 600.0
"""Seconds; a server that asks for more is asked again then all the same."""

MAX_BODY: Final = 64 * 1024
"""The most that is read of an answer's body, after decompression."""


class Ending(Enum):
    """How far the body of an answer could be read."""

    WHOLE = "whole"
    CUT_OFF = "cut off"
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True)
class Answer:
    """
    An HTTP answer, its body read as far as *ending* says; *headers* are looked up in lower case.

    It is *premature* if it came before the whole request was sent.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    ending: Ending = Ending.WHOLE
    premature: bool = False

    @property
    def is_json(self) -> bool:
        """Whether it calls itself JSON."""
        media_type, _, _ = self.headers.get("content-type", "").partition(";")
        return media_type.strip().lower() == "application/json"

    def content(self) -> object:
        """
        The body, decoded from JSON.

        Raises:
            ValueError: It is not JSON.

        """
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def field(self, name: str) -> str | None:
        """A text in the JSON object that the body is; None where it has none of that name, or is not an object."""
        try:
            content = self.content() if self.is_json else None
        except ValueError:
            return None
        value = content.get(name) if isinstance(content, dict) else None
        return value if isinstance(value, str) else None

    @property
    def words(self) -> str:
        """What the server says: the Connect message, else the status line and the body."""
        text = self.body.decode("utf-8", "replace").strip()
        return self.field("message") or ": ".join(filter(None, [self.reason, text]))

    @property
    def retry_after(self) -> float:
        """The seconds in Retry-After, given as such or as a date; a date is held against the server's own clock."""
        value = self.headers.get("retry-after", "")
        try:
            seconds = float(value)
        except ValueError:
            now = _date(self.headers.get("date", "")) or datetime.now(UTC)
            seconds = ((_date(value) or now) - now).total_seconds()
        return min(max(0.0, seconds), MAX_RETRY_AFTER)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
