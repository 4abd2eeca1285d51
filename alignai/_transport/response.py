"""An HTTP response, with the parts of it that the client reads, or the reason why there is none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

from alignai._interruption import is_interruption

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RETRY_AFTER_SECONDS: Final = 600.0
"""A longer pause is cut to this."""

MAX_BODY_BYTES: Final = 64 * 1024
"""The limit for reading the body of a response, after decompression."""


class BodyStatus(Enum):
    """How far the body of a response could be read."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True)
class Response:
    """
    An HTTP response, its body read as far as *body_status* says.

    *headers* are looked up in lower case. A response is *premature* if it came before the whole request was sent.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    body_status: BodyStatus = BodyStatus.COMPLETE
    premature: bool = False

    @property
    def is_json(self) -> bool:
        """Whether the response is declared as JSON."""
        media_type, _, _ = self.headers.get("content-type", "").partition(";")
        return media_type.strip().lower() == "application/json"

    def json(self) -> object:
        """
        Return the body, decoded from JSON.

        Raises:
            ValueError: The body is not JSON.

        """
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def json_field(self, name: str) -> str | None:
        """Return a text in the JSON object of the body. None if there is no object, or no text of that name."""
        try:
            value = self.json() if self.is_json else None
        except ValueError as error:
            if is_interruption(error):
                raise
            return None
        member = value.get(name) if isinstance(value, dict) else None
        return member if isinstance(member, str) else None

    @property
    def message(self) -> str:
        """The Connect message, else the status line and the body."""
        text = self.body.decode("utf-8", "replace").strip()
        return self.json_field("message") or ": ".join(filter(None, [self.reason, text]))

    @property
    def retry_after(self) -> float:
        """The seconds of Retry-After. If it is a date, it is compared with the server's own clock."""
        value = self.headers.get("retry-after", "")
        try:
            seconds = float(value)
        except ValueError as error:
            if is_interruption(error):
                raise
            now = _date(self.headers.get("date", "")) or datetime.now(UTC)
            seconds = ((_date(value) or now) - now).total_seconds()
        return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)


class NoResponseError(Exception):
    """
    There was no HTTP response.

    Args:
        why: The reason, for people.
        misconfigured: Whether no request can be made at all, because of the address or a proxy.
        too_slow: Whether the time ran out because the network is too slow for a request of this size.
        unsent: Whether the server cannot have the whole request.
        cancelled: Whether `cancel` ended the request.

    """

    def __init__(
        self,
        why: str,
        *,
        misconfigured: bool = False,
        too_slow: bool = False,
        unsent: bool = False,
        cancelled: bool = False,
    ) -> None:
        super().__init__(why)
        self.misconfigured = misconfigured
        self.too_slow = too_slow
        self.unsent = unsent
        self.cancelled = cancelled


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError) as error:
        if is_interruption(error):
            raise
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
