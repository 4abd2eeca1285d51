"""
The fast path from arguments to JSON, which nearly every call takes.

`schemas.load`, `wire.build` and `wire.encode` take several times as long as committing the event. So each schema is
compiled once into a function that checks and writes in one step. It is all or nothing. If the function accepts the
arguments, the schema accepts them too, and the bytes are the same. For any others the function returns None, and the
caller asks the schema.

This is the only place that makes and runs source text: a closure for each field would cost as much as the insert.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alignai._events.fields import Length, OneOf, Properties, Range, Regexp, Text, Time, WholeNumber
from alignai._events.schemas import SCHEMAS
from alignai._events.wire import CODECS, EVENT_FORMATS, dumps, wire_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alignai._events.wire import EventFormat

    Writer = Callable[[Mapping[str, object], str, str, str], bytes | None]

_EVENT_ID: Final = "event_id"
_CUSTOM: Final = "custom_properties"


class _Code(str):
    """Source of an expression, among literal texts."""

    __slots__ = ()


class _Piece(NamedTuple):
    """One argument: the source of its check, and the parts that it adds to the event."""

    check: str
    parts: tuple[str, ...]


def write(method: str, arguments: Mapping[str, object], *, project: str, event_id: str, now: str) -> bytes | None:
    """
    Return the event as JSON, as `load`, `build` and `encode` would, or None if they must be asked.

    Args:
        method: The event method that was called, such as `create_message`.
        arguments: All arguments by name, as the caller gave them.
        project: The project id, as a JSON string.
        event_id: Identifies a repeat of the event.
        now: When the event was recorded, as on the wire.

    """
    try:
        return _WRITERS[method](arguments, project, event_id, now)
    except UnicodeEncodeError:  # a lone surrogate
        return None


class _Compiler:
    """Compiles the function of one method."""

    def __init__(self, method: str, event_format: EventFormat) -> None:
        self._format = event_format
        self._fields = SCHEMAS[method].fields
        self._values: dict[str, Any] = {"quoted": encode_basestring, "dumps": dumps, "wire_time": wire_time}
        self._values |= {"datetime": datetime, "UTC": UTC}

    def compile(self) -> Writer:
        pieces = {name: self._piece(name) for name in self._fields}
        unpacked = [f"{name} = arguments[{name!r}]" for name in self._fields]
        if _CUSTOM in pieces:  # a copy, which no other thread can change between check and text
            unpacked += [f"if type({_CUSTOM}) is dict:", f"    {_CUSTOM} = {_CUSTOM}.copy()"]
        body = [
            *unpacked,
            f"if not ({' and '.join(piece.check for piece in pieces.values())}):",
            "    return None",
            f"return ''.join(({', '.join(_merged(self._event(pieces)))})).encode()",
        ]
        source = "\n    ".join(["def write(arguments, project, id, now):", *body])
        exec(source, self._values)  # noqa: S102 - made of the schemas, and of no input
        writer: Writer = self._values["write"]
        return writer

    def _event(self, pieces: dict[str, _Piece]) -> list[str]:
        """Return the parts of the event, in the order of `build`."""
        event_format = self._format
        first, *others = [part for name in event_format.fields for part in pieces[name].parts]
        fixed = "".join(f',"{member}":"{text}"' for member, text in event_format.fixed.items())
        custom = pieces[_CUSTOM].parts if _CUSTOM in pieces else ()
        head = [
            '{"id":"',
            _Code("id"),
            f'","type":"{event_format.type}","createTime":"',
            _Code("now"),
            '","projectId":',
        ]
        head += [_Code("project"), f',"properties":{{"{event_format.group}":{{', first.removeprefix(",")]
        return [*head, *others, fixed, "}", *custom, "}}"]

    def _piece(self, name: str) -> _Piece:
        field = self._fields[name]
        check, text = self._plain(name, field)
        if name == _EVENT_ID:
            return _Piece(f"({name} is None or {check})", ())
        key = ',"customProperties":' if name == _CUSTOM else f',"{self._format.fields[name]}":'
        if field.required:
            return _Piece(check, (key, _Code(text)))
        absent = f"not {name}" if name == _CUSTOM else f"{name} is None"
        return _Piece(f"({name} is None or {check})", (_Code(f"'' if {absent} else {key!r} + {text}"),))

    def _plain(self, name: str, field: object) -> tuple[str, str]:
        """Return the sources of the check and of the JSON of a value that is not None."""
        match field:
            case Text() if name in CODECS:
                return self._choice(name, field)
            case Text():
                return self._text(name, field), f"quoted({name})"
            case WholeNumber(validators=[Range(min=low, max=high, min_inclusive=True, max_inclusive=True)]):
                return f"type({name}) is int and {low} <= {name} <= {high}", f"str({name})"
            case Time(validators=[]):
                return f"type({name}) is datetime and {name}.tzinfo is UTC", f"""'"' + wire_time({name}) + '"'"""
            case Properties(validators=[]):
                entries = f"{self._text('key', field.keys)} and {self._text('value', field.values)}"
                every = f"all([{entries} for key, value in {name}.items()])"
                self._values["encode"] = CODECS[name].write
                return (
                    f"type({name}) is dict and len({name}) <= {field.max_entries} and {every}",
                    f"dumps(encode({name}))",
                )
        raise TypeError(f"{name}: no way to compile {field!r}")

    def _choice(self, name: str, field: Text) -> tuple[str, str]:
        """Return the sources for a text that is replaced by another on the wire, if it is one of a few."""
        match field.validators:
            case [OneOf(choices=choices)]:
                table = f"{name}_json"
                self._values[table] = {choice: dumps(CODECS[name].write(choice)) for choice in choices}
                return f"type({name}) is str and {name} in {table}", f"{table}[{name}]"
        return "False", "''"

    def _text(self, name: str, field: Text) -> str:
        return " and ".join([f"type({name}) is str", *(self._limit(name, limit) for limit in field.validators)])

    def _limit(self, name: str, limit: object) -> str:
        match limit:
            case Length(min=low, max=high, equal=None):
                return f"{low or 0} <= len({name})" + (f" <= {high}" if high is not None else "")
            case Regexp(regex=regex):
                self._values[f"{name}_matches"] = regex.match
                return f"{name}_matches({name})"
            case OneOf(choices=choices):
                self._values[f"{name}_choices"] = frozenset(choices)
                return f"{name} in {name}_choices"
        raise TypeError(f"{name}: no way to compile {limit!r}")


def _merged(parts: list[str]) -> list[str]:
    """Return the parts as source, with neighbouring texts joined."""
    source: list[str] = []
    for is_code, group in groupby(parts, lambda part: isinstance(part, _Code)):
        neighbours = list(group)
        source += neighbours if is_code else [repr("".join(neighbours))]
    return source


_WRITERS: Final = {method: _Compiler(method, event_format).compile() for method, event_format in EVENT_FORMATS.items()}
