"""The fields of the schemas: each takes the values of one type, and gives them on as plain ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from marshmallow import ValidationError as Refusal
from marshmallow import fields
from marshmallow.validate import Length, OneOf, Range, Regexp

from alignai._plain import whole_number
from alignai.exception import shown
from alignai.interruption import is_interruption

__all__ = [
    "Exact",
    "Length",
    "OneOf",
    "Properties",
    "Range",
    "Refusal",
    "Regexp",
    "Text",
    "Time",
    "WholeNumber",
    "errors_of",
]


class Exact(fields.Raw):
    """A field that takes the values of one type, and makes nothing else into one."""

    accepts: type
    called: str
    default_error_messages = {"required": "is required", "null": "must not be None"}  # noqa: RUF012 - marshmallow's way

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> Any:
        del attr, data
        # `type()`, since mocks and proxies answer to isinstance for what they are not.
        if not issubclass(type(value), self.accepts):
            raise self._of_another_type(value)
        return self._plain(value)

    def _of_another_type(self, value: object) -> Refusal:
        return Refusal(f"must be {self.called}, not {type(value).__name__:.40}")

    def _plain(self, value: Any) -> Any:
        """*value*, which may be of a subclass, as one of the type itself."""
        return value


class Text(Exact):
    """A str of valid Unicode; an enum's member that is one counts by its value."""

    accepts = str
    called = "a str"

    def _plain(self, value: str) -> str:
        text = str.__str__(value)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            # Not from its cause, which holds the whole text.
            raise Refusal(f"is not valid Unicode: a lone surrogate at index {error.start}") from None
        return text


class WholeNumber(Exact):
    """An int of at most 64 bits, or what Python takes for an index; a bool is none."""

    accepts = object
    called = "an int"

    def _plain(self, value: object) -> int:
        try:
            number = whole_number(value)
        except Exception as error:  # `__index__` is the caller's code
            if is_interruption(error):
                raise
            raise self._of_another_type(value) from None
        # `Range` shows the number, and Python refuses to print one of more than 4300 digits.
        if number.bit_length() > 64:  # noqa: PLR2004 - the error says what it is
            raise Refusal("must be a number of at most 64 bits")
        return number


class Time(Exact):
    """A datetime, given in UTC; a naive one is taken as UTC."""

    accepts = datetime
    called = "a datetime"

    def _plain(self, value: datetime) -> datetime:
        try:
            offset = value.utcoffset()
            # Built from its parts: a subclass's own arithmetic may give anything. pandas' NaT is a datetime too.
            parts = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
            clock = datetime(*parts, tzinfo=UTC)
            return clock - offset if offset else clock
        except Exception as error:  # a time zone is the caller's code
            if is_interruption(error):
                raise
            raise Refusal("must be a time whose year in UTC is 1 to 9999") from error


class Properties(Exact):
    """A mapping of at most *most* entries, their keys and values by the fields given; an empty one counts as None."""

    accepts = Mapping
    called = "a dict"

    def __init__(self, keys: Text, values: Text, *, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keys = keys
        self.values = values
        self.most = most

    def _plain(self, value: Mapping[Any, Any]) -> dict[str, str] | None:
        try:
            entries = _entries(value, self.most + 1)
        except Exception as error:  # a mapping is the caller's code
            if is_interruption(error):
                raise
            raise Refusal("must be a dict, not a mapping that cannot be read") from None
        if len(entries) > self.most:
            raise Refusal(f"must have at most {self.most} entries")
        if wrong := [text for entry in entries for text in self._wrong(*entry)]:
            raise Refusal(wrong)
        return {str.__str__(key): str.__str__(text) for key, text in entries} or None

    def _wrong(self, key: object, text: object) -> list[str]:
        named = f"key {shown(key) if issubclass(type(key), str) else ''}".rstrip()
        in_value = [f"value of {named} {wrong}" for wrong in errors_of(self.values, text)]
        return [f"{named} {wrong}" for wrong in errors_of(self.keys, key)] + in_value


def _entries(mapping: Mapping[Any, Any], most: int) -> list[tuple[Any, Any]]:
    """Return the first entries of *mapping*, *most* at most."""
    # A dict is read at once, since another thread may change it. Another mapping may be large, or without end.
    items = list(dict.items(mapping)) if isinstance(mapping, dict) else mapping.items()
    return [(key, text) for key, text in islice(items, most)]


def errors_of(field: Exact, value: object) -> list[str]:
    """Return what is wrong with *value* in *field*."""
    try:
        field.deserialize(value)
    except Refusal as refusal:
        return [str(text) for text in refusal.messages]
    return []
