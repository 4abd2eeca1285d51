"""The event on the wire: built, written as JSON, and read back. The only place that knows the wire's names."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import floor
from typing import TYPE_CHECKING, Any, Final

from alignai._events.schemas import check_project_id, load
from alignai.constants import ROLE_ASSISTANT, ROLE_USER, EventTypes
from alignai.exception import shown
from alignai.validate import ValidationError, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


@dataclass(frozen=True, slots=True)
class Form:
    """How a value looks on the wire. *read* undoes *write*; what it cannot read it refuses by one of `_MISREAD`."""

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


_MISREAD: Final = (AttributeError, LookupError, OverflowError, TypeError, ValueError)

_ROLES: Final = {ROLE_USER: "ROLE_USER", ROLE_ASSISTANT: "ROLE_ASSISTANT"}
_ROLES_READ: Final = {wire: role for role, wire in _ROLES.items()}


def wire_time(when: datetime) -> str:
    """*when*, which has a time zone, as on the wire."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


_AS_IS: Final = Form(lambda value: value, lambda value: value, "must be neither null nor NaN")
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
_ENVELOPE: Final = ("id", "type", "createTime", "projectId", "properties")
_CUSTOM: Final = "customProperties"
_TYPES: Final = ", ".join(dict.fromkeys(shape.type for shape in SHAPES.values()))
_TARGETS: Final = ", ".join(target for shape in SHAPES.values() for target in shape.fixed.values())
_MOST_LISTED: Final = 10

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
        properties[_CUSTOM] = written["custom_properties"]
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
        reason = "a lone surrogate" if isinstance(error, UnicodeEncodeError) else str(error)
    raise ValidationError(f"the event cannot be written as JSON: {reason}", {"event": [reason]})


def parse(event: object) -> tuple[str, dict[str, Any]]:
    """
    Read an event back from the wire: what `build` was given.

    Args:
        event: One event, as `json.loads` gives it.

    Returns:
        The method, and its arguments as `alignai._events.schemas.load` returns them, without the event's id.
        An empty `customProperties` counts as none: whoever masks events may have emptied it.

    Raises:
        ValidationError: `build` cannot have made it: something is missing, unknown, of another type or form, or over
            its limit. It says what, by path in the event.

    """
    envelope = _members("event", event, required=_ENVELOPE)
    method, given = _recognised(envelope)
    arguments, errors = _read(given)
    try:
        checked = load(method, arguments)
    except ValidationError as error:
        errors = {**error.errors, **errors}
    errors = {_path(method, name): texts for name, texts in errors.items()} | _envelope_errors(envelope)
    if errors:
        raise _refusal(errors)
    # Only what the event has: of an assistant id that was left out the schema would make the default.
    return method, {name: checked[name] for name in arguments if name in checked and name != "event_id"}


def _refusal(errors: dict[str, list[str]]) -> ValidationError:
    return ValidationError(f"not an event of this SDK: {summary(errors)}", errors)


def _members(path: str, value: object, *, required: Collection[str], also: Collection[str] = ()) -> dict[str, Any]:
    """*value*, an object with all of the *required* members and no others but *also*."""
    if type(value) is not dict:
        raise _refusal({path: [f"must be an object, not {type(value).__name__:.40}"]})
    unknown = [key for key in value if key not in required and key not in also]
    errors = {f"{path}.{name}": ["is missing"] for name in required if name not in value}
    errors |= {f"{path}.{shown(key)}": ["is not known here"] for key in unknown[:_MOST_LISTED]}
    if errors:
        raise _refusal(errors)
    return value


def _recognised(envelope: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The method that made *envelope*, and its arguments in the form of the wire."""
    shapes = {method: shape for method, shape in SHAPES.items() if shape.type == envelope["type"]}
    if not shapes:
        raise _refusal({"event.type": [f"must be one of: {_TYPES}"]})
    group = next(iter(shapes.values())).group
    properties = _members("event.properties", envelope["properties"], required=[group], also=[_CUSTOM])
    path = f"event.properties.{group}"
    for method, shape in shapes.items():
        if not shape.fixed or (
            isinstance(properties[group], dict) and shape.fixed.items() <= properties[group].items()
        ):
            members = _members(path, properties[group], required=shape.fixed, also=shape.fields.values())
            given = {name: members[wire] for name, wire in shape.fields.items() if wire in members}
            custom = {"custom_properties": properties[_CUSTOM]} if _CUSTOM in properties else {}
            return method, {"event_id": envelope["id"], **given, **custom}
    raise _refusal({f"{path}.feedbackTarget": [f"must be one of: {_TARGETS}"]})


def _read(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The arguments that *given* stands for, and what is wrong with the form of the rest."""
    arguments, errors = {}, {}
    for name, value in given.items():
        try:
            arguments[name] = _argument(name, value)
        except _MISREAD:
            errors[name] = [FORMS.get(name, _AS_IS).rule]
    return arguments, errors


def _argument(name: str, value: Any) -> Any:
    """What *value* stands for; it raises one of `_MISREAD` where `build` writes nothing like it."""
    form = FORMS.get(name, _AS_IS)
    argument = form.read(value)
    # One form for each value: what reads well but is written otherwise (an offset, a code in lower case) is not ours.
    if value is None or form.write(argument) != value:
        raise ValueError(name)
    return argument


def _path(method: str, name: str) -> str:
    shape = SHAPES[method]
    if name in shape.fields:
        return f"event.properties.{shape.group}.{shape.fields[name]}"
    return "event.id" if name == "event_id" else f"event.properties.{_CUSTOM}"


def _envelope_errors(envelope: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with the members that are not a method's arguments."""
    _, misread = _read({"create_time": envelope["createTime"]})
    errors = {"event.createTime": misread["create_time"]} if misread else {}
    try:
        check_project_id(envelope["projectId"])
    except ValidationError as error:
        errors["event.projectId"] = error.errors["project_id"]
    return errors
