"""The fields of the schemas: each accepts values of one type, and returns them as plain ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from marshmallow import ValidationError as SchemaError
from marshmallow import fields
from marshmallow.validate import Length, OneOf, Range, Regexp

from alignai._interruption import is_interruption
from alignai._plain import whole_number
from alignai.exception import short_repr

__all__ = [
    "Length",
    "OneOf",
    "Properties",
    "Range",
    "Regexp",
    "SchemaError",
    "StrictField",
    "Text",
    "Time",
    "WholeNumber",
    "errors_of",
]


class StrictField(fields.Raw):
    """A field that accepts the values of one type, and converts no others."""

    accepts: type
    type_name: str
    default_error_messages = {"required": "is required", "null": "must not be None"}  # noqa: RUF012 - as marshmallow asks for

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> Any:
        del attr, data
        # `type()`, since mocks and proxies pass isinstance checks for other types.
        if not issubclass(type(value), self.accepts):
            raise self._type_error(value)
        return self._convert(value)

    def _type_error(self, value: object) -> SchemaError:
        return SchemaError(f"must be {self.type_name}, not {type(value).__name__:.40}")

    def _convert(self, value: Any) -> Any:
        """Return *value*, which may be of a subclass, as one of the type itself."""
        return value


class Text(StrictField):
    """A str of valid Unicode. The member of a str enum counts by its value."""

    accepts = str
    type_name = "a str"

    def _convert(self, value: str) -> str:
        text = str.__str__(value)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            # Not raised from its cause, which holds the whole text.
            raise SchemaError(f"is not valid Unicode: a lone surrogate at index {error.start}") from None
        return text


class WholeNumber(StrictField):
    """An int of at most 64 bits, or a value that Python accepts as an index. A bool is not one."""

    accepts = object
    type_name = "an int"

    def _convert(self, value: object) -> int:
        try:
            number = whole_number(value)
        except Exception as error:  # `__index__` is the caller's code
            if is_interruption(error):
                raise
            raise self._type_error(value) from None
        # `Range` shows the number, and Python refuses to print one of more than 4300 digits.
        if number.bit_length() > 64:  # noqa: PLR2004 - the error names it
            raise SchemaError("must be a number of at most 64 bits")
        return number


class Time(StrictField):
    """A datetime, converted to UTC. A naive one is taken as UTC."""

    accepts = datetime
    type_name = "a datetime"

    def _convert(self, value: datetime) -> datetime:
        try:
            offset = value.utcoffset()
            # Built from its parts: the arithmetic of a subclass may return anything. pandas' NaT is a datetime, too.
            parts = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
            clock = datetime(*parts, tzinfo=UTC)
            return clock - offset if offset else clock
        except Exception as error:  # a time zone is the caller's code
            if is_interruption(error):
                raise
            raise SchemaError("must be a time whose year in UTC is 1 to 9999") from error


class Properties(StrictField):
    """
    A mapping of at most *max_entries* entries, whose keys and values are checked by two other fields.

    An empty one counts as None.
    """

    accepts = Mapping
    type_name = "a dict"

    def __init__(self, keys: Text, values: Text, *, max_entries: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keys = keys
        self.values = values
        self.max_entries = max_entries

    def _convert(self, value: Mapping[Any, Any]) -> dict[str, str] | None:
        try:
            entries = _entries(value, self.max_entries + 1)
        except Exception as error:  # a mapping is the caller's code
            if is_interruption(error):
                raise
            raise SchemaError("must be a dict, not a mapping that cannot be read") from None
        if len(entries) > self.max_entries:
            raise SchemaError(f"must have at most {self.max_entries} entries")
        if wrong := [text for entry in entries for text in self._wrong(*entry)]:
            raise SchemaError(wrong)
        return {str.__str__(key): str.__str__(text) for key, text in entries} or None

    def _wrong(self, key: object, text: object) -> list[str]:
        named = f"key {short_repr(key) if issubclass(type(key), str) else ''}".rstrip()
        in_value = [f"value of {named} {wrong}" for wrong in errors_of(self.values, text)]
        return [f"{named} {wrong}" for wrong in errors_of(self.keys, key)] + in_value


def _entries(mapping: Mapping[Any, Any], max_entries: int) -> list[tuple[Any, Any]]:
    """Return the first entries of *mapping*, *max_entries* at most."""
    # A dict is read in one step, since another thread may change it. Another mapping may be large, or without end.
    items = list(dict.items(mapping)) if isinstance(mapping, dict) else mapping.items()
    return [(key, text) for key, text in islice(items, max_entries)]


def errors_of(field: StrictField, value: object) -> list[str]:
    """Return the errors of *value* in *field*."""
    try:
        field.deserialize(value)
    except SchemaError as error:
        return [str(text) for text in error.messages]
    return []
