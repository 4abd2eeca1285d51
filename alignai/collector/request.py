"""Read a request to the collector: functions from its bytes to its events, or to a refusal."""

from __future__ import annotations

import json
import re
import zlib
from http import HTTPStatus
from typing import Any, NoReturn

from alignai._events.parser import parse
from alignai.validate import ValidationError

_MAX_ERRORS_SHOWN = 20
_REQUEST_ID = re.compile(r"[!-~]{1,36}")


class Refusal(Exception):  # noqa: N818 - a response, not an error of the collector
    """The response to a request that is not accepted: an HTTP status, a Connect code and a message."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def inflate(body: bytes, encoding: str | None, most: int) -> bytes:
    """Return the body decompressed. Raise Refusal if it is not gzip, is damaged, or has more than *most* bytes."""
    if encoding in (None, "", "identity"):
        return body
    if encoding != "gzip":
        raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "unimplemented", "unknown compression: supported encodings are gzip")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = inflater.decompress(body, most + 1)
    except zlib.error:
        _invalid("the body is not gzip")
    if len(plain) > most:
        raise too_large(len(plain), most)
    if not inflater.eof or inflater.unused_data:
        _invalid("the gzip body is cut off or has something behind it")
    return plain


def read_request(body: bytes) -> tuple[str, list[dict[str, Any]]]:
    """Return the request id and the events of a body. Raise Refusal with each invalid event and the reason."""
    try:
        request = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        _invalid("the body is not JSON in UTF-8")
    if not isinstance(request, dict) or set(request) != {"requestId", "events"}:
        _invalid("the body must be an object of requestId and events")
    request_id, taken = request["requestId"], request["events"]
    if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
        _invalid("requestId must be 1 to 36 printable ASCII characters")
    if not isinstance(taken, list) or not taken:
        _invalid("events must be a list of at least one event")
    errors = [f"events[{index}]: {error}" for index, event in enumerate(taken) if (error := _error_of(event))]
    if errors:
        _invalid("; ".join(errors[:_MAX_ERRORS_SHOWN]))
    return request_id, taken


def _error_of(event: object) -> str:
    try:
        parse(event)
    except ValidationError as error:
        return str(error)
    return ""


def _invalid(message: str) -> NoReturn:
    raise Refusal(HTTPStatus.BAD_REQUEST, "invalid_argument", message) from None


def too_large(size: int, most: int) -> Refusal:
    """Return the refusal of a message of *size* bytes, with the message of a Connect server."""
    message = f"message size {size} is larger than configured max {most}"
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "resource_exhausted", message)
