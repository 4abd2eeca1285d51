"""
The short way from arguments to JSON, which nearly every call takes.

`schemas.load`, `events.build` and `events.encode` cost several times what committing the event does. So each schema is
compiled, once, into a function that checks and writes in one go. It is all or nothing: what the function passes, the
schema passes, and the bytes are the same; of anything else it says nothing, and the schema judges.

This is the one place where source text is made and run: a closure for each field would cost as much as the insert.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alignai._events.fields import Length, OneOf, Properties, Range, Regexp, Text, Time, WholeNumber
from alignai._events.schemas import SCHEMAS
from alignai._events.wire import FORMS, SHAPES, as_json, wire_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alignai._events.wire import Shape

    Writer = Callable[[Mapping[str, object], str, str, str], bytes | None]

_EVENT_ID: Final = "event_id"
_CUSTOM: Final = "custom_properties"


class _Code(str):
    """Source that gives a text, among texts that stand for themselves."""

    __slots__ = ()


class _Piece(NamedTuple):
    """One argument: the source of its check, and what it adds to the event."""

    check: str
    parts: tuple[str, ...]


def write(method: str, arguments: Mapping[str, object], *, project: str, event_id: str, now: str) -> bytes | None:
    """
    The event as JSON: what `load`, `build` and `encode` would make of it; None where they are to be asked.

    Args:
        method: The event method that was called, such as `create_message`.
        arguments: All of its arguments by name, as the caller gave them.
        project: Whose event it is, as a JSON string.
        event_id: What a repeat of it is known by.
        now: When it was recorded, as on the wire.

    """
    try:
        return _WRITERS[method](arguments, project, event_id, now)
    except UnicodeEncodeError:  # a lone surrogate
        return None


class _Compiler:
    """Makes the function of one method."""

    def __init__(self, method: str, shape: Shape) -> None:
        self._shape = shape
        self._fields = SCHEMAS[method].fields
        self._values: dict[str, Any] = {"quoted": encode_basestring, "as_json": as_json, "wire_time": wire_time}
        self._values |= {"datetime": datetime, "UTC": UTC}

    def compiled(self) -> Writer:
        pieces = {name: self._piece(name) for name in self._fields}
        unpacked = [f"{name} = arguments[{name!r}]" for name in self._fields]
        if _CUSTOM in pieces:  # nobody changes it between check and text
            unpacked += [f"if type({_CUSTOM}) is dict:", f"    {_CUSTOM} = {_CUSTOM}.copy()"]
        body = [
            *unpacked,
            f"if not ({' and '.join(piece.check for piece in pieces.values())}):",
            "    return None",
            f"return ''.join(({', '.join(_merged(self._event(pieces)))})).encode()",
        ]
        source = "\n    ".join(["def write(arguments, project, id, now):", *body])
        exec(source, self._values)  # noqa: S102 - made of our own schemas, of nothing that anyone gives
        writer: Writer = self._values["write"]
        return writer

    def _event(self, pieces: dict[str, _Piece]) -> list[str]:
        """The parts of the event, in the order of `build`."""
        shape = self._shape
        first, *others = [part for name in shape.fields for part in pieces[name].parts]
        fixed = "".join(f',"{wire}":"{text}"' for wire, text in shape.fixed.items())
        custom = pieces[_CUSTOM].parts if _CUSTOM in pieces else ()
        head = ['{"id":"', _Code("id"), f'","type":"{shape.type}","createTime":"', _Code("now"), '","projectId":']
        head += [_Code("project"), f',"properties":{{"{shape.group}":{{', first.removeprefix(",")]
        return [*head, *others, fixed, "}", *custom, "}}"]

    def _piece(self, name: str) -> _Piece:
        field = self._fields[name]
        check, text = self._plain(name, field)
        if name == _EVENT_ID:
            return _Piece(f"({name} is None or {check})", ())
        key = ',"customProperties":' if name == _CUSTOM else f',"{self._shape.fields[name]}":'
        if field.required:
            return _Piece(check, (key, _Code(text)))
        absent = f"not {name}" if name == _CUSTOM else f"{name} is None"
        return _Piece(f"({name} is None or {check})", (_Code(f"'' if {absent} else {key!r} + {text}"),))

    def _plain(self, name: str, field: object) -> tuple[str, str]:
        """The check of a value that is there, and its JSON."""
        match field:
            case Text() if name in FORMS:
                return self._chosen(name, field)
            case Text():
                return self._text(name, field), f"quoted({name})"
            case WholeNumber(validators=[Range(min=low, max=high, min_inclusive=True, max_inclusive=True)]):
                return f"type({name}) is int and {low} <= {name} <= {high}", f"str({name})"
            case Time(validators=[]):
                return f"type({name}) is datetime and {name}.tzinfo is UTC", f"""'"' + wire_time({name}) + '"'"""
            case Properties(validators=[]):
                entries = f"{self._text('key', field.keys)} and {self._text('value', field.values)}"
                every = f"all([{entries} for key, value in {name}.items()])"
                self._values["form"] = FORMS[name].write
                return f"type({name}) is dict and len({name}) <= {field.most} and {every}", f"as_json(form({name}))"
        raise TypeError(f"{name}: no way to compile {field!r}")

    def _chosen(self, name: str, field: Text) -> tuple[str, str]:
        """A text that is written as another: one of a few, or the schema is asked."""
        match field.validators:
            case [OneOf(choices=choices)]:
                table = f"{name}_json"
                self._values[table] = {choice: as_json(FORMS[name].write(choice)) for choice in choices}
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
    """The parts as source, neighbouring texts in one."""
    source: list[str] = []
    for is_code, group in groupby(parts, lambda part: isinstance(part, _Code)):
        neighbours = list(group)
        source += neighbours if is_code else [repr("".join(neighbours))]
    return source


_WRITERS: Final = {method: _Compiler(method, shape).compiled() for method, shape in SHAPES.items()}
