"""Events read back from the wire, for what stands in for the server: it takes exactly what `wire.build` makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alignai._events.schemas import check_project_id, load
from alignai._events.wire import CUSTOM, FORMS, MISREAD, SHAPES, Form
from alignai.exception import shown
from alignai.validate import ValidationError, summary

if TYPE_CHECKING:
    from collections.abc import Collection

_AS_IS: Final = Form(lambda value: value, lambda value: value, "must be neither null nor NaN")
_ENVELOPE: Final = ("id", "type", "createTime", "projectId", "properties")
_TYPES: Final = ", ".join(dict.fromkeys(shape.type for shape in SHAPES.values()))
_TARGETS: Final = ", ".join(target for shape in SHAPES.values() for target in shape.fixed.values())
_MAX_LISTED: Final = 10


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
    errors |= {f"{path}.{shown(key)}": ["is not known here"] for key in unknown[:_MAX_LISTED]}
    if errors:
        raise _refusal(errors)
    return value


def _recognised(envelope: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The method that made *envelope*, and its arguments in the form of the wire."""
    shapes = {method: shape for method, shape in SHAPES.items() if shape.type == envelope["type"]}
    if not shapes:
        raise _refusal({"event.type": [f"must be one of: {_TYPES}"]})
    group = next(iter(shapes.values())).group
    properties = _members("event.properties", envelope["properties"], required=[group], also=[CUSTOM])
    path = f"event.properties.{group}"
    for method, shape in shapes.items():
        if not shape.fixed or (
            isinstance(properties[group], dict) and shape.fixed.items() <= properties[group].items()
        ):
            members = _members(path, properties[group], required=shape.fixed, also=shape.fields.values())
            given = {name: members[wire] for name, wire in shape.fields.items() if wire in members}
            custom = {"custom_properties": properties[CUSTOM]} if CUSTOM in properties else {}
            return method, {"event_id": envelope["id"], **given, **custom}
    raise _refusal({f"{path}.feedbackTarget": [f"must be one of: {_TARGETS}"]})


def _read(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The arguments that *given* stands for, and what is wrong with the form of the rest."""
    arguments, errors = {}, {}
    for name, value in given.items():
        try:
            arguments[name] = _argument(name, value)
        except MISREAD:
            errors[name] = [FORMS.get(name, _AS_IS).rule]
    return arguments, errors


def _argument(name: str, value: Any) -> Any:
    """What *value* stands for; it raises one of `MISREAD` where `build` writes nothing like it."""
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
    return "event.id" if name == "event_id" else f"event.properties.{CUSTOM}"


def _envelope_errors(envelope: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with the members that are not a method's arguments."""
    _, misread = _read({"create_time": envelope["createTime"]})
    errors = {"event.createTime": misread["create_time"]} if misread else {}
    try:
        check_project_id(envelope["projectId"])
    except ValidationError as error:
        errors["event.projectId"] = error.errors["project_id"]
    return errors
