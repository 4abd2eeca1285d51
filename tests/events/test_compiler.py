"""The fast path gives the same event as the schema, or none."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import fields
from marshmallow.validate import Length

from alignai._events import compiler, schemas, wire
from alignai._events.fields import Text
from alignai.validate import ValidationError
from tests.support.strategies import METHODS, NOW, OPTIONAL, REQUIRED, UNHURRIED

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

Call = tuple[str, dict[str, Any]]
PROJECT = 'p "1" é'


def long_way(method: str, arguments: dict[str, Any], event_id: str, now: datetime) -> bytes:
    checked = schemas.load(method, arguments)
    return wire.encode(wire.build(method, checked, project_id=PROJECT, event_id=event_id, now=now))


def short_way(method: str, arguments: dict[str, Any], event_id: str, now: datetime) -> bytes | None:
    project = wire.dumps(PROJECT)
    return compiler.write(method, arguments, project=project, event_id=event_id, now=wire.wire_time(now))


def names(method: str) -> list[str]:
    return list(schemas.SCHEMAS[method].fields)


class Role(enum.StrEnum):
    USER = "user"


class Shout(str):
    __slots__ = ()

    def __len__(self) -> int:
        return 1


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=3),
    st.text(st.characters(), max_size=70),
    st.text('\ud800a\n"\\\x7f', max_size=4),
    st.sampled_from(["user", "assistant", "thumbs_up", "DE", "1.2.3.4", "a\n", "", Role.USER, Shout("x" * 99)]),
    st.dictionaries(st.text(max_size=3) | st.integers(), st.text(max_size=3) | st.none(), max_size=12),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.timezones()),
)  # fmt: skip


@st.composite
def good_calls(draw: DrawFn) -> Call:
    method = draw(st.sampled_from(METHODS))
    arguments = dict.fromkeys(names(method))
    return method, arguments | draw(st.fixed_dictionaries(REQUIRED[method], optional=OPTIONAL[method]))


@st.composite
def any_calls(draw: DrawFn) -> Call:
    """A good call of which some arguments have become anything at all."""
    method, arguments = draw(good_calls())
    return method, arguments | draw(st.dictionaries(st.sampled_from(names(method)), ODD, max_size=3))


@UNHURRIED
@given(call=good_calls() | any_calls(), now=NOW)
def test_the_fast_path_gives_the_same_bytes_as_the_schema(call: Call, now: datetime) -> None:
    method, arguments = call
    written = short_way(method, arguments, "e-1", now)

    if written is not None:
        assert written == long_way(method, arguments, "e-1", now)


@UNHURRIED
@given(call=any_calls(), now=NOW)
def test_the_fast_path_passes_nothing_that_the_schema_refuses(call: Call, now: datetime) -> None:
    method, arguments = call
    try:
        long_way(method, arguments, "e-1", now)
    except ValidationError:
        assert short_way(method, arguments, "e-1", now) is None


@UNHURRIED
@given(call=good_calls(), now=NOW)
def test_nearly_every_valid_call_takes_the_fast_path(call: Call, now: datetime) -> None:
    method, arguments = call
    time = arguments.get("create_time")
    judged = arguments.get("country_code") is not None or (time is not None and time.tzinfo is not UTC)

    assert (short_way(method, arguments, "e-1", now) is None) == judged


def test_the_fast_path_reads_every_argument() -> None:
    """A new argument of a schema is checked from the first day, or there is no short way."""
    for method in METHODS:
        for missing in names(method):
            arguments = dict.fromkeys(names(method))
            del arguments[missing]
            with pytest.raises(KeyError):
                short_way(method, arguments, "e-1", datetime.now(UTC))


def test_a_field_of_an_unknown_kind_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    making = compiler._Compiler("close_session", wire.EVENT_FORMATS["close_session"])
    monkeypatch.setitem(making._fields, "session_id", fields.Float())
    with pytest.raises(TypeError, match="no way to compile"):
        making.compile()


def test_a_limit_of_an_unknown_kind_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    making = compiler._Compiler("close_session", wire.EVENT_FORMATS["close_session"])
    monkeypatch.setitem(making._fields, "session_id", Text(validate=Length(equal=3), required=True))
    with pytest.raises(TypeError, match="no way to compile"):
        making.compile()


def test_properties_that_change_meanwhile_are_written_as_they_were_checked() -> None:
    """Nothing can come between the check and the text: both read one copy."""
    arguments: dict[str, Any] = {"session_id": "s", "user_id": "u", "custom_properties": {"a": "b"}}
    arguments = dict.fromkeys(names("open_session")) | arguments
    written = short_way("open_session", arguments, "e-1", datetime.now(UTC))

    assert written
    assert b'"customProperties":{"a":{"stringValue":"b"}}' in written


@given(clock=st.floats(-1e10, 1e11))
def test_the_moment_is_written_as_a_datetime_would_be(clock: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alignai._events.wire.time.time", lambda: clock)
        text = wire.wire_now()

    assert abs(datetime.fromisoformat(text).timestamp() - clock) < 1e-4  # floats so far from 1970 know no more
    assert wire.wire_time(datetime.fromisoformat(text)) == text
