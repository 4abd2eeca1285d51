"""The meaning of a response for the batch that was uploaded: one table, read by one function."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from alignai._interruption import is_interruption
from alignai._transport.redact import sanitize
from alignai._transport.response import BodyStatus
from alignai.exception import APIError

if TYPE_CHECKING:
    from alignai._transport.response import Response

_TEXT_LENGTH: Final = 500
_MESSAGE_LENGTH: Final = 250
_TARGET_LENGTH: Final = 80


class Action(Enum):
    """The action on a batch after an upload."""

    SENT = "sent"
    """The server has the batch."""
    RETRY = "retry"
    """Send the same batch again under the same request id, later."""
    HOLD = "hold"
    """A key, an address or a proxy is wrong, the events are not: keep all of them, try seldom, log it."""
    SPLIT = "split"
    """The request is too large: never send it again unchanged."""
    ISOLATE = "isolate"
    """The server refuses something in the batch: halve it until the events at fault are alone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    The end of an upload.

    Attributes:
        action: The action on the batch.
        error: The error, fit to be logged and shown. None if the batch is sent.
        retry_after: The pause in seconds that the server asked for, 0 to 600.
        fault: Whether the server itself failed on this very request, as it does if one event makes it fail.
        too_slow: Whether the time ran out because the network is too slow for a request of this size.
        unsent: Whether the server cannot have the whole request.
        cancelled: Whether this process ended the upload before it was over.

    """

    action: Action
    error: APIError | None
    retry_after: float = 0.0
    fault: bool = False
    too_slow: bool = False
    unsent: bool = False
    cancelled: bool = False


_BY_CODE: Final = {
    "already_exists": Action.SENT,
    "unavailable": Action.RETRY,
    "resource_exhausted": Action.RETRY,
    "deadline_exceeded": Action.RETRY,
    "aborted": Action.RETRY,
    "canceled": Action.RETRY,
    "internal": Action.RETRY,
    "unknown": Action.RETRY,
    "data_loss": Action.RETRY,
    "unauthenticated": Action.HOLD,
    "permission_denied": Action.HOLD,
    "not_found": Action.HOLD,
    "unimplemented": Action.HOLD,
    "invalid_argument": Action.ISOLATE,
    "out_of_range": Action.ISOLATE,
    "failed_precondition": Action.ISOLATE,
}
_BY_STATUS: Final = {
    400: Action.ISOLATE,
    408: Action.RETRY,
    413: Action.SPLIT,
    422: Action.ISOLATE,
    425: Action.RETRY,
    429: Action.RETRY,
    499: Action.RETRY,
    501: Action.HOLD,
}
_BY_CLASS: Final = {5: Action.RETRY}
_DEFAULT: Final = Action.HOLD  # it loses nothing, and it is logged

_FAULTS: Final = frozenset({"internal", "unknown", "data_loss"})
_TOO_LARGE: Final = re.compile(r"larger than .*max|too large", re.IGNORECASE)
_COMPRESSION: Final = re.compile(r"compress|encoding", re.IGNORECASE)

_OK: Final = 200
_CONTENT_TOO_LARGE: Final = 413
_UNSUPPORTED_MEDIA_TYPE: Final = 415
_SERVER_ERROR: Final = 500
_NOT_IMPLEMENTED: Final = 501

_ADDRESS: Final = "check api_host and any proxy in between"
_HINTS: Final = {
    200: f"this did not come from the ingestion service; {_ADDRESS}",
    401: "check the API key",
    403: "check the API key and what it is allowed to do",
    404: _ADDRESS,
    405: _ADDRESS,
    407: "the proxy wants a login",
    415: _ADDRESS,
    501: _ADDRESS,
}


def classify(response: Response, secret: str) -> Outcome:
    """
    Return the outcome that *response* stands for.

    Args:
        response: The response.
        secret: The API key. It is masked if the server echoes it.

    """
    action = _action(response)
    if action is Action.SENT:
        return Outcome(action, None)
    return Outcome(
        action, APIError(response.status, _error_message(response, secret)), response.retry_after, _is_fault(response)
    )


def no_response(action: Action, why: str, secret: str, **flags: bool) -> Outcome:
    """Return the outcome if there was no HTTP response. *flags* are fields of the outcome."""
    return Outcome(action, APIError(0, sanitize(why, secret, _TEXT_LENGTH)), **flags)


def is_unimplemented(response: Response) -> bool:
    """Return True if the service itself says that it has no such method."""
    return _code(response) == "unimplemented" and not refuses_compression(response)


def refuses_compression(response: Response) -> bool:
    """Return True if the server says that it does not accept compressed requests."""
    if response.status == _UNSUPPORTED_MEDIA_TYPE:
        return True
    unimplemented = response.status == _NOT_IMPLEMENTED or _code(response) == "unimplemented"
    return unimplemented and _COMPRESSION.search(response.message) is not None


def _action(response: Response) -> Action:
    if response.body_status is BodyStatus.TRUNCATED:
        return Action.RETRY
    if response.status == _OK and response.premature:
        return Action.RETRY  # it cannot be about this request, since the server lacks a part of it
    if response.status == _OK:
        return _action_of_ok(response)
    if _is_too_large(response):
        return Action.SPLIT
    if code := _code(response):
        return _BY_CODE[code]
    return _BY_STATUS.get(response.status) or _BY_CLASS.get(response.status // 100, _DEFAULT)


def _action_of_ok(response: Response) -> Action:
    if not response.is_json or response.body_status is BodyStatus.TOO_LARGE:
        return Action.HOLD
    try:
        value = response.json()
    except ValueError as error:
        if is_interruption(error):
            raise
        return Action.RETRY  # a truncated response without a length looks complete
    return Action.SENT if isinstance(value, dict) else Action.HOLD


def _is_too_large(response: Response) -> bool:
    if response.status == _CONTENT_TOO_LARGE:
        return True
    return _code(response) == "resource_exhausted" and _TOO_LARGE.search(response.message) is not None


def _is_fault(response: Response) -> bool:
    if response.body_status is BodyStatus.TRUNCATED:
        return False
    code = _code(response)
    return code in _FAULTS if code else response.status == _SERVER_ERROR


def _code(response: Response) -> str | None:
    """Return the Connect code, if the response has one that exists."""
    code = response.json_field("code")
    return code if code in _BY_CODE else None


def _error_message(response: Response, secret: str) -> str:
    parts = [sanitize(response.message, secret, _MESSAGE_LENGTH) or "no explanation was given"]
    if response.body_status is not BodyStatus.COMPLETE:
        parts.append(f"the response is {response.body_status.value}")
    if location := response.headers.get("location"):
        target = sanitize(location, secret, _TARGET_LENGTH)
        parts.append(f"redirects are not followed, the key would go along: {target}")
    if hint := _HINTS.get(response.status):
        parts.append(hint)
    return "; ".join(parts)
