"""The event on the wire: built, and encoded as JSON. The only place of the names on the wire."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import floor
from typing import TYPE_CHECKING, Any, Final

from alignai._interruption import is_interruption
from alignai.constants import ROLE_ASSISTANT, ROLE_USER, EventTypes
from alignai.validate import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

MISREAD_ERRORS: Final = (AttributeError, LookupError, OverflowError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Codec:
    """
    The form of a value on the wire.

    *write* converts an argument. *read* converts it back, and raises one of `MISREAD_ERRORS` for any other value.
    *rule* describes the values that it accepts.
    """

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    rule: str


@dataclass(frozen=True, slots=True)
class EventFormat:
    """The format of a method's events: their type, the name of their properties, and the members by argument."""

    type: str
    group: str
    fields: dict[str, str]
    fixed: dict[str, str] = field(default_factory=dict)


_ROLES: Final = {ROLE_USER: "ROLE_USER", ROLE_ASSISTANT: "ROLE_ASSISTANT"}
_ROLES_READ: Final = {wire: role for role, wire in _ROLES.items()}


def wire_time(when: datetime) -> str:
    """Return *when*, which has a time zone, as on the wire."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


CODECS: Final = {
    "create_time": Codec(wire_time, datetime.fromisoformat, "must be a time such as 2026-11-23T09:47:02.484685Z"),
    "role": Codec(_ROLES.__getitem__, _ROLES_READ.__getitem__, f"must be one of: {', '.join(_ROLES_READ)}"),
    "country_code": Codec(
        lambda code: {"countryCode": code},
        lambda location: location["countryCode"].upper(),
        'must be {"countryCode": two upper-case letters}',
    ),
    "custom_properties": Codec(
        lambda properties: {key: {"stringValue": text} for key, text in properties.items()},
        lambda properties: {key: value["stringValue"] for key, value in properties.items()},
        'must be {key: {"stringValue": text}, ...}',
    ),
}

_FEEDBACK: Final = {"session_id": "sessionId", "feedback_type": "type"}
EVENT_FORMATS: Final = {
    "identify_user": EventFormat(
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
    "open_session": EventFormat(
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
    "create_message": EventFormat(
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
    "close_session": EventFormat(EventTypes.SESSION_CLOSE, "sessionProperties", {"session_id": "sessionId"}),
    "create_message_feedback": EventFormat(
        EventTypes.FEEDBACK_CREATE,
        "feedbackProperties",
        {**_FEEDBACK, "message_index": "messageIndexHint"},
        {"feedbackTarget": "TARGET_MESSAGE"},
    ),
    "create_session_feedback": EventFormat(
        EventTypes.FEEDBACK_CREATE, "feedbackProperties", _FEEDBACK, {"feedbackTarget": "TARGET_SESSION"}
    ),
}
CUSTOM: Final = "customProperties"

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def new_event_id() -> str:
    """Return a new event id: 32 random hexadecimal digits."""
    return os.urandom(16).hex()


_second: tuple[int, str] = (-1, "")


def wire_now() -> str:
    """Return this moment as on the wire. Only the first call in a second does all the work."""
    global _second  # noqa: PLW0603 - replaced as a whole, so that no thread sees half of it
    second, microseconds = divmod(floor(time.time() * 1_000_000), 1_000_000)
    known, text = _second
    if second != known:
        text = datetime.fromtimestamp(second, UTC).isoformat()[: -len("+00:00")]
        _second = second, text
    return f"{text}.{microseconds:06d}Z"


def build(method: str, arguments: dict[str, Any], *, project_id: str, event_id: str, now: datetime) -> dict[str, Any]:
    """
    Return the event as it goes over the wire.

    Args:
        method: The event method that was called, such as `create_message`.
        arguments: Its arguments, as `alignai._events.schemas.load` returns them. An `event_id` is ignored.
        project_id: The project of the event.
        event_id: Identifies a repeat of the event.
        now: When the event was recorded, with a time zone.

    """
    event_format = EVENT_FORMATS[method]
    written = {name: CODECS[name].write(value) if name in CODECS else value for name, value in arguments.items()}
    members = {member: written[name] for name, member in event_format.fields.items() if name in written}
    properties = {event_format.group: {**members, **event_format.fixed}}
    if "custom_properties" in written:
        properties[CUSTOM] = written["custom_properties"]
    return {
        "id": event_id,
        "type": event_format.type,
        "createTime": wire_time(now),
        "projectId": project_id,
        "properties": properties,
    }


def dumps(value: object) -> str:
    """Return *value* as compact JSON."""
    return _ENCODER.encode(value)


def encode(event: object) -> bytes:
    """Return *event* as compact JSON in UTF-8. Raise a `ValidationError` if it is not JSON."""
    try:
        return dumps(event).encode()
    except (TypeError, ValueError, RecursionError) as error:
        if is_interruption(error):
            raise
        reason = "a lone surrogate" if isinstance(error, UnicodeEncodeError) else str(error)
    raise ValidationError(f"the event cannot be written as JSON: {reason}", {"event": [reason]})
