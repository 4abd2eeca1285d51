"""What an answer to an upload means for the batch: one table, read by one function."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from alignai._transport.redact import sanitize
from alignai._transport.response import Ending
from alignai.exception import APIError

if TYPE_CHECKING:
    from alignai._transport.response import Answer

_TEXT_LENGTH: Final = 500
_WORDS_LENGTH: Final = 250
_TARGET_LENGTH: Final = 80


class Verdict(Enum):
    """What is to be done with a batch after an upload."""

    SENT = "sent"
    """The server has the batch."""
    RETRY = "retry"
    """Send the same batch again under the same request id, later."""
    HOLD = "hold"
    """A key, an address or a proxy is wrong, the events are not: keep all, try seldom, tell someone."""
    SPLIT = "split"
    """The request is too large: never send it again unchanged."""
    ISOLATE = "isolate"
    """The server refuses something in the batch: halve it until the events at fault stand alone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How an upload ended.

    Attributes:
        verdict: What is to be done with the batch.
        error: What went wrong, fit to be logged and shown; None where the batch is sent.
        retry_after: The seconds that the server asked to be left alone, 0 to 600.
        fault: Whether the server itself failed on this very request, as it would where one event makes it fail.
        too_slow: Whether the time ran out because the line takes so long for a request of this size.
        unsent: Whether the server cannot have all of the request.
        called_off: Whether this process ended it before it was over.

    """

    verdict: Verdict
    error: APIError | None
    retry_after: float = 0.0
    fault: bool = False
    too_slow: bool = False
    unsent: bool = False
    called_off: bool = False


_BY_CODE: Final = {
    "already_exists": Verdict.SENT,
    "unavailable": Verdict.RETRY,
    "resource_exhausted": Verdict.RETRY,
    "deadline_exceeded": Verdict.RETRY,
    "aborted": Verdict.RETRY,
    "canceled": Verdict.RETRY,
    "internal": Verdict.RETRY,
    "unknown": Verdict.RETRY,
    "data_loss": Verdict.RETRY,
    "unauthenticated": Verdict.HOLD,
    "permission_denied": Verdict.HOLD,
    "not_found": Verdict.HOLD,
    "unimplemented": Verdict.HOLD,
    "invalid_argument": Verdict.ISOLATE,
    "out_of_range": Verdict.ISOLATE,
    "failed_precondition": Verdict.ISOLATE,
}
_BY_STATUS: Final = {
    400: Verdict.ISOLATE,
    408: Verdict.RETRY,
    413: Verdict.SPLIT,
    422: Verdict.ISOLATE,
    425: Verdict.RETRY,
    429: Verdict.RETRY,
    499: Verdict.RETRY,
    501: Verdict.HOLD,
}
_BY_CLASS: Final = {5: Verdict.RETRY}
_OTHERWISE: Final = Verdict.HOLD  # nothing is lost by it, and someone is told

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


def judge(answer: Answer, secret: str) -> Outcome:
    """
    The outcome that an answer stands for.

    Args:
        answer: The answer.
        secret: The API key, which is masked where the server echoes it.

    """
    verdict = _verdict(answer)
    if verdict is Verdict.SENT:
        return Outcome(verdict, None)
    return Outcome(verdict, APIError(answer.status, _text(answer, secret)), answer.retry_after, _is_fault(answer))


def unanswered(verdict: Verdict, why: str, secret: str, **flags: bool) -> Outcome:
    """Return the outcome when there was no HTTP answer; *flags* are fields of it."""
    return Outcome(verdict, APIError(0, sanitize(why, secret, _TEXT_LENGTH)), **flags)


def names_method(answer: Answer) -> bool:
    """Return True if the service itself says that it has no such method."""
    return _code(answer) == "unimplemented" and not refuses_compression(answer)


def refuses_compression(answer: Answer) -> bool:
    """Whether the server says that it cannot take a compressed request."""
    if answer.status == _UNSUPPORTED_MEDIA_TYPE:
        return True
    unimplemented = answer.status == _NOT_IMPLEMENTED or _code(answer) == "unimplemented"
    return unimplemented and _COMPRESSION.search(answer.words) is not None


def _verdict(answer: Answer) -> Verdict:
    if answer.ending is Ending.CUT_OFF:
        return Verdict.RETRY
    if answer.status == _OK and answer.premature:
        return Verdict.RETRY  # it cannot be about this request, of which the server lacks a part
    if answer.status == _OK:
        return _verdict_of_ok(answer)
    if _is_too_large(answer):
        return Verdict.SPLIT
    if code := _code(answer):
        return _BY_CODE[code]
    return _BY_STATUS.get(answer.status) or _BY_CLASS.get(answer.status // 100, _OTHERWISE)


def _verdict_of_ok(answer: Answer) -> Verdict:
    if not answer.is_json or answer.ending is Ending.TOO_LARGE:
        return Verdict.HOLD
    try:
        content = answer.content()
    except ValueError:
        return Verdict.RETRY  # where an answer has no length, a piece of it looks whole
    return Verdict.SENT if isinstance(content, dict) else Verdict.HOLD


def _is_too_large(answer: Answer) -> bool:
    if answer.status == _CONTENT_TOO_LARGE:
        return True
    return _code(answer) == "resource_exhausted" and _TOO_LARGE.search(answer.words) is not None


def _is_fault(answer: Answer) -> bool:
    if answer.ending is Ending.CUT_OFF:
        return False
    code = _code(answer)
    return code in _FAULTS if code else answer.status == _SERVER_ERROR


def _code(answer: Answer) -> str | None:
    """The Connect code, where the answer has one that exists."""
    code = answer.field("code")
    return code if code in _BY_CODE else None


def _text(answer: Answer, secret: str) -> str:
    parts = [sanitize(answer.words, secret, _WORDS_LENGTH) or "no explanation was given"]
    if answer.ending is not Ending.WHOLE:
        parts.append(f"the answer is {answer.ending.value}")
    if location := answer.headers.get("location"):
        target = sanitize(location, secret, _TARGET_LENGTH)
        parts.append(f"redirects are not followed, the key would go along: {target}")
    if hint := _HINTS.get(answer.status):
        parts.append(hint)
    return "; ".join(parts)
