"""The event on the wire: built, and written as JSON. The only place that knows the wire's names."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import floor
from typing import TYPE_CHECKING, Any, Final

from alignai.constants import ROLE_ASSISTANT, ROLE_USER, EventTypes
from alignai.interruption import is_interruption
from alignai.validate import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

MISREAD: Final = (AttributeError, LookupError, OverflowError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Form:
    """
    How a value looks on the wire.

    *read* undoes *write*. It raises one of `MISREAD` for a value that it cannot read. *rule* says what it can.
    """

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    rule: str


@dataclass(frozen=True, slots=True)
class Shape:
    """An event method on the wire: its type, the name of its properties, and their fields by argument."""

    type: str
    group: str
    fields: dict[str, str]
    fixed: dict[str, str] = field(default_factory=dict)


_ROLES: Final = {ROLE_USER: "ROLE_USER", ROLE_ASSISTANT: "ROLE_ASSISTANT"}
_ROLES_READ: Final = {wire: role for role, wire in _ROLES.items()}


def wire_time(when: datetime) -> str:
    """*when*, which has a time zone, as on the wire."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


FORMS: Final = {
    "create_time": Form(wire_time, datetime.fromisoformat, "must be a time such as 2026-11-23T09:47:02.484685Z"),
    "role": Form(_ROLES.__getitem__, _ROLES_READ.__getitem__, f"must be one of: {', '.join(_ROLES_READ)}"),
    "country_code": Form(
        lambda code: {"countryCode": code},
        lambda location: location["countryCode"].upper(),
        'must be {"countryCode": two upper-case letters}',
    ),
    "custom_properties": Form(
        lambda properties: {key: {"stringValue": text} for key, text in properties.items()},
        lambda properties: {key: value["stringValue"] for key, value in properties.items()},
        'must be {key: {"stringValue": text}, ...}',
    ),
}

_FEEDBACK: Final = {"session_id": "sessionId", "feedback_type": "type"}
SHAPES: Final = {
    "identify_user": Shape(
        EventTypes.USER_RECOGNIZE,
        "userProperties",
        {
            "user_id": "userId",
            "display_name": "userDisplayName",
            "email": "userEmail",
            "ip": "userIp",
            "country_code": "userLocation",
            "create_time": "userCreateTime",
        },
    ),
    "open_session": Shape(
        EventTypes.SESSION_OPEN,
        "sessionProperties",
        {
            "session_id": "sessionId",
            "user_id": "userId",
            "assistant_id": "assistantId",
            "session_title": "sessionTitle",
            "create_time": "sessionStartTime",
        },
    ),
    "create_message": Shape(
        EventTypes.MESSAGE_CREATE,
        "messageProperties",
        {
            "session_id": "sessionId",
            "message_index": "messageIndexHint",
            "role": "messageRole",
            "content": "messageContent",
            "create_time": "messageCreateTime",
        },
    ),
    "close_session": Shape(EventTypes.SESSION_CLOSE, "sessionProperties", {"session_id": "sessionId"}),
    "create_message_feedback": Shape(
        EventTypes.FEEDBACK_CREATE,
        "feedbackProperties",
        {**_FEEDBACK, "message_index": "messageIndexHint"},
        {"feedbackTarget": "TARGET_MESSAGE"},
    ),
    "create_session_feedback": Shape(
        EventTypes.FEEDBACK_CREATE, "feedbackProperties", _FEEDBACK, {"feedbackTarget": "TARGET_SESSION"}
    ),
}
CUSTOM: Final = "customProperties"

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def new_event_id() -> str:
    """A new event id: 32 hexadecimal digits, never given before."""
    return os.urandom(16).hex()


_second: tuple[int, str] = (-1, "")


def now_on_wire() -> str:
    """This moment as on the wire. Only the first call in a second does all the work."""
    global _second  # noqa: PLW0603 - replaced whole, so that no thread meets half of it
    second, microseconds = divmod(floor(time.time() * 1_000_000), 1_000_000)
    known, text = _second
    if second != known:
        text = datetime.fromtimestamp(second, UTC).isoformat()[: -len("+00:00")]
        _second = second, text
    return f"{text}.{microseconds:06d}Z"


def build(method: str, arguments: dict[str, Any], *, project_id: str, event_id: str, now: datetime) -> dict[str, Any]:
    """
    The event as it goes over the wire.

    Args:
        method: The event method that was called, such as `create_message`.
        arguments: What `alignai._events.schemas.load` made of its arguments; an `event_id` among them is passed over.
        project_id: Whose event it is.
        event_id: What a repeat of it is known by.
        now: When it was recorded, with its time zone.

    """
    shape = SHAPES[method]
    written = {name: FORMS[name].write(value) if name in FORMS else value for name, value in arguments.items()}
    members = {wire: written[name] for name, wire in shape.fields.items() if name in written}
    properties = {shape.group: {**members, **shape.fixed}}
    if "custom_properties" in written:
        properties[CUSTOM] = written["custom_properties"]
    return {
        "id": event_id,
        "type": shape.type,
        "createTime": wire_time(now),
        "projectId": project_id,
        "properties": properties,
    }


def as_json(value: object) -> str:
    """*value*, of what JSON knows, as compact JSON."""
    return _ENCODER.encode(value)


def encode(event: object) -> bytes:
    """*event* as compact JSON in UTF-8; a `ValidationError` where it is not JSON."""
    try:
        return as_json(event).encode()
    except (TypeError, ValueError, RecursionError) as error:
        if is_interruption(error):
            raise
        reason = "a lone surrogate" if isinstance(error, UnicodeEncodeError) else str(error)
    raise ValidationError(f"the event cannot be written as JSON: {reason}", {"event": [reason]})
