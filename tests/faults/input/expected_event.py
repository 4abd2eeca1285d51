"""The event that a server must decode, derived from the arguments a second time and by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_PROPERTIES = {
    "identify_user": "userProperties",
    "open_session": "sessionProperties",
    "create_message": "messageProperties",
    "close_session": "sessionProperties",
    "create_message_feedback": "feedbackProperties",
    "create_session_feedback": "feedbackProperties",
}
_TYPES = {
    "identify_user": "user_recognize",
    "open_session": "session_open",
    "create_message": "message_create",
    "close_session": "session_close",
    "create_message_feedback": "feedback_create",
    "create_session_feedback": "feedback_create",
}
_NAMES = {
    "session_id": "sessionId",
    "user_id": "userId",
    "display_name": "userDisplayName",
    "email": "userEmail",
    "ip": "userIp",
    "assistant_id": "assistantId",
    "session_title": "sessionTitle",
    "message_index": "messageIndexHint",
    "content": "messageContent",
    "feedback_type": "type",
}
_TIMES = {
    "identify_user": "userCreateTime",
    "open_session": "sessionStartTime",
    "create_message": "messageCreateTime",
}


def expected(method: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the type and the properties that a server must decode, with datetimes and without missing members."""
    given = {name: _plain(value) for name, value in arguments.items() if value is not None}
    members = {_NAMES[name]: value for name, value in given.items() if name in _NAMES}
    if "country_code" in given:
        members["userLocation"] = {"countryCode": given["country_code"].upper()}
    if "role" in given:
        members["messageRole"] = "ROLE_" + given["role"].upper()
    if "create_time" in given:
        members[_TIMES[method]] = given["create_time"]
    if "feedback_type" in given:
        members["feedbackTarget"] = "TARGET_MESSAGE" if "message_index" in given else "TARGET_SESSION"
    custom = {key: {"stringValue": text} if text else {} for key, text in given.get("custom_properties", {}).items()}
    properties = {_PROPERTIES[method]: _without_empty(members), "customProperties": custom}
    return _TYPES[method], {name: value for name, value in properties.items() if value}


def decoded(event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the type and the properties of an event that a server decoded."""
    properties = event["properties"]
    (group,) = properties.keys() - {"customProperties"}
    members = {
        name: datetime.fromisoformat(value) if name in _TIMES.values() else value
        for name, value in properties[group].items()
    }
    return event["type"], {**properties, group: members}


def _without_empty(members: dict[str, Any]) -> dict[str, Any]:
    """Leave out empty texts, which protobuf does not distinguish from missing ones."""
    return {name: value for name, value in members.items() if value != ""}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if isinstance(value, dict):
        return {str.__str__(key): str.__str__(text) for key, text in dict.items(value)}
    return str.__str__(value) if isinstance(value, str) else int.__int__(value)
