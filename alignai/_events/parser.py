"""Events read back from the wire. Accepts exactly the events that `wire.build` makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alignai._events.schemas import check_project_id, load
from alignai._events.wire import CODECS, CUSTOM, EVENT_FORMATS, MISREAD_ERRORS, Codec
from alignai.exception import short_repr
from alignai.validate import ValidationError, summary

if TYPE_CHECKING:
    from collections.abc import Collection

_AS_IS: Final = Codec(lambda value: value, lambda value: value, "must be neither null nor NaN")
_ENVELOPE: Final = ("id", "type", "createTime", "projectId", "properties")
_TYPES: Final = ", ".join(dict.fromkeys(event_format.type for event_format in EVENT_FORMATS.values()))
_TARGETS: Final = ", ".join(target for event_format in EVENT_FORMATS.values() for target in event_format.fixed.values())
_MAX_LISTED: Final = 10


def parse(event: object) -> tuple[str, dict[str, Any]]:
    """
    Read an event back from the wire.

    Args:
        event: One event, as `json.loads` returns it.

    Returns:
        The method, and its arguments as `alignai._events.schemas.load` returns them, without the event's id. An empty
        `customProperties` is left out: `before_spool` may have emptied it.

    Raises:
        ValidationError: `build` cannot have made the event. A member is missing, unknown, of another type or form, or
            over its limit. The errors are given by path in the event.

    """
    envelope = _members("event", event, required=_ENVELOPE)
    method, members_by_argument = _find_method(envelope)
    arguments, errors = _read(members_by_argument)
    try:
        checked = load(method, arguments)
    except ValidationError as error:
        errors = {**error.errors, **errors}
    errors = {_path(method, name): texts for name, texts in errors.items()} | _envelope_errors(envelope)
    if errors:
        raise _invalid(errors)
    # Only members of the event: for an assistant id that is left out, the schema would add the default.
    return method, {name: checked[name] for name in arguments if name in checked and name != "event_id"}


def _invalid(errors: dict[str, list[str]]) -> ValidationError:
    return ValidationError(f"not an event of this SDK: {summary(errors)}", errors)


def _members(path: str, value: object, *, required: Collection[str], also: Collection[str] = ()) -> dict[str, Any]:
    """Return *value*, an object with all *required* members and no others but *also*."""
    if type(value) is not dict:
        raise _invalid({path: [f"must be an object, not {type(value).__name__:.40}"]})
    unknown = [key for key in value if key not in required and key not in also]
    errors = {f"{path}.{name}": ["is missing"] for name in required if name not in value}
    errors |= {f"{path}.{short_repr(key)}": ["is not known here"] for key in unknown[:_MAX_LISTED]}
    if errors:
        raise _invalid(errors)
    return value


def _find_method(envelope: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the method that made *envelope*, and its arguments in the form of the wire."""
    formats = {
        method: event_format for method, event_format in EVENT_FORMATS.items() if event_format.type == envelope["type"]
    }
    if not formats:
        raise _invalid({"event.type": [f"must be one of: {_TYPES}"]})
    group = next(iter(formats.values())).group
    properties = _members("event.properties", envelope["properties"], required=[group], also=[CUSTOM])
    path = f"event.properties.{group}"
    for method, event_format in formats.items():
        if not event_format.fixed or (
            isinstance(properties[group], dict) and event_format.fixed.items() <= properties[group].items()
        ):
            members = _members(path, properties[group], required=event_format.fixed, also=event_format.fields.values())
            members_by_argument = {name: members[wire] for name, wire in event_format.fields.items() if wire in members}
            custom = {"custom_properties": properties[CUSTOM]} if CUSTOM in properties else {}
            return method, {"event_id": envelope["id"], **members_by_argument, **custom}
    raise _invalid({f"{path}.feedbackTarget": [f"must be one of: {_TARGETS}"]})


def _read(members_by_argument: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return the arguments, converted from the form of the wire, and the errors of those that have another form."""
    arguments, errors = {}, {}
    for name, value in members_by_argument.items():
        try:
            arguments[name] = _argument(name, value)
        except MISREAD_ERRORS:
            errors[name] = [CODECS.get(name, _AS_IS).rule]
    return arguments, errors


def _argument(name: str, value: Any) -> Any:
    """Return the argument for *value*. Raise one of `MISREAD_ERRORS` if `build` writes no such value."""
    codec = CODECS.get(name, _AS_IS)
    argument = codec.read(value)
    # One form for each value: a readable value in another form (an offset, a code in lower case) is not accepted.
    if value is None or codec.write(argument) != value:
        raise ValueError(name)
    return argument


def _path(method: str, name: str) -> str:
    event_format = EVENT_FORMATS[method]
    if name in event_format.fields:
        return f"event.properties.{event_format.group}.{event_format.fields[name]}"
    return "event.id" if name == "event_id" else f"event.properties.{CUSTOM}"


def _envelope_errors(envelope: dict[str, Any]) -> dict[str, list[str]]:
    """Return the errors of the members that are not arguments of a method."""
    _, misread = _read({"create_time": envelope["createTime"]})
    errors = {"event.createTime": misread["create_time"]} if misread else {}
    try:
        check_project_id(envelope["projectId"])
    except ValidationError as error:
        errors["event.projectId"] = error.errors["project_id"]
    return errors
