"""
The rules for arguments: one marshmallow schema per event method, the only place of every limit.

Limits are data on the fields (`Length`, `Range`, `Regexp`, `OneOf`), so that other checks can be derived from them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from marshmallow import Schema, post_load
from marshmallow.orderedset import OrderedSet

from alignai import constants
from alignai._events.fields import (
    Length,
    OneOf,
    Properties,
    Range,
    Regexp,
    SchemaError,
    Text,
    Time,
    WholeNumber,
    errors_of,
)
from alignai.validate import ValidationError, summary

# Each pattern ends in \Z: `$` would let a trailing newline through.
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}\Z")
_COUNTRY_CODE: Final = re.compile(r"[A-Za-z]{2}\Z")
_PROPERTY_KEY: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,63}\Z")
_EVENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

_AT_MOST: Final = "must have at most {max} characters"


def _optional(*limits: Length | Regexp, **kwargs: Any) -> Text:
    return Text(validate=limits, allow_none=True, **kwargs)


def _matching(pattern: re.Pattern[str], meaning: str) -> Regexp:
    return Regexp(pattern, error=f"must {meaning}, not {{input!r:.40}}")


def _one_of(*choices: str) -> Text:
    # 20 characters show every valid role, and little of a message that was passed in its place.
    return Text(validate=OneOf(choices, error="must be one of: {choices}; not {input!r:.20}"), required=True)


# Fields may be shared: a schema binds copies.
_IDENTIFIER: Final = Text(validate=Length(min=1, max=64, error="must have {min} to {max} characters"), required=True)
_MESSAGE_INDEX: Final = WholeNumber(
    validate=Range(min=1, max=2**31 - 1, error="must be from {min} to {max}, not {input}"), required=True
)
_CREATE_TIME: Final = Time(allow_none=True)
_CUSTOM_PROPERTIES: Final = Properties(
    Text(validate=Regexp(_PROPERTY_KEY, error="must be an ASCII letter and at most 63 ASCII letters, digits or _")),
    Text(validate=Length(max=256, error=_AT_MOST)),
    max_entries=10,
    allow_none=True,
)


class _Event(Schema):
    class Meta:
        # Not in marshmallow's global registry: a user's schema may have the same name.
        register = False

    set_class = OrderedSet  # the default since 3.20: older versions list the errors in any order
    error_messages = {"unknown": "is not known here"}  # noqa: RUF012 - as marshmallow asks for
    event_id = _optional(_matching(_EVENT_ID, "have 1 to 64 of the characters A-Z a-z 0-9 _ -"))


class _IdentifyUser(_Event):
    user_id = _IDENTIFIER
    display_name = _optional(Length(max=64, error=_AT_MOST))
    email = _optional(Length(max=256, error=_AT_MOST))
    ip = _optional(_matching(_IPV4, "be an IPv4 address such as 203.0.113.7"))
    country_code = _optional(_matching(_COUNTRY_CODE, "be two ASCII letters"))
    create_time = _CREATE_TIME
    custom_properties = _CUSTOM_PROPERTIES

    @post_load
    def _upper(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        # After the check: the upper case of one letter outside ASCII can be two letters of ASCII.
        code = data.get("country_code")
        return {**data, "country_code": code.upper()} if code else data


class _OpenSession(_Event):
    session_id = _IDENTIFIER
    user_id = _IDENTIFIER
    assistant_id = _optional(Length(max=64, error=_AT_MOST), load_default=constants.DEFAULT_ASSISTANT_ID)
    custom_properties = _CUSTOM_PROPERTIES
    session_title = _optional(Length(max=256, error=_AT_MOST))
    create_time = _CREATE_TIME


class _CreateMessage(_Event):
    session_id = _IDENTIFIER
    message_index = _MESSAGE_INDEX
    role = _one_of(constants.ROLE_USER, constants.ROLE_ASSISTANT)
    content = Text(validate=Length(min=1, error="must not be empty"), required=True)
    custom_properties = _CUSTOM_PROPERTIES
    create_time = _CREATE_TIME


class _CloseSession(_Event):
    session_id = _IDENTIFIER


class _CreateSessionFeedback(_Event):
    session_id = _IDENTIFIER
    feedback_type = _one_of(constants.FEEDBACK_THUMBS_UP, constants.FEEDBACK_THUMBS_DOWN)


class _CreateMessageFeedback(_CreateSessionFeedback):
    message_index = _MESSAGE_INDEX


SCHEMAS: Final[dict[str, Schema]] = {
    "identify_user": _IdentifyUser(),
    "open_session": _OpenSession(),
    "create_message": _CreateMessage(),
    "close_session": _CloseSession(),
    "create_message_feedback": _CreateMessageFeedback(),
    "create_session_feedback": _CreateSessionFeedback(),
}


def load(method: str, arguments: dict[str, object]) -> dict[str, Any]:
    """
    Check the arguments of an event method.

    Args:
        method: A key of `SCHEMAS`.
        arguments: By name, as the caller gave them. They may include `event_id`.

    Returns:
        The arguments as they will be recorded: plain types, country code in upper case, times in UTC. Optional ones
        that are None, and custom properties without an entry, are left out. A missing `assistant_id` is the default.

    Raises:
        ValidationError: An argument is invalid. All errors are listed, by argument.

    """
    try:
        loaded: dict[str, Any] = SCHEMAS[method].load(arguments)
    except SchemaError as error:
        errors = error.messages_dict
    else:
        return {name: value for name, value in loaded.items() if value is not None}
    # Outside the handler: as its context, that error would carry every argument into error reports, contents too.
    raise ValidationError(f"{method}: {summary(errors)}", errors)


def check_project_id(project_id: object) -> str:
    """Return *project_id* as a plain str. Raise a `ValidationError` unless it has 1 to 64 characters."""
    check("project_id", project_id)
    return str.__str__(project_id)


_CHECKED_ALONE: Final = {
    **dict.fromkeys(("project_id", "session_id", "user_id"), _IDENTIFIER),
    "custom_properties": _CUSTOM_PROPERTIES,
}


def check(name: str, value: object) -> None:
    """Raise a `ValidationError` if *value* cannot be recorded as *name*, a key of `_CHECKED_ALONE`."""
    if texts := errors_of(_CHECKED_ALONE[name], value):
        errors = {name: texts}
        raise ValidationError(summary(errors), errors)
