"""Hypothesis strategies: calls of public methods with any arguments."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum, IntEnum
from typing import Any, NamedTuple

from hypothesis import strategies as st

from alignai import Config
from tests.support.strategies import ANYTHING, EVENT_IDS, METHODS, NAIVE_TIMES, OPTIONAL, REQUIRED, TEXT, calls


class Call(NamedTuple):
    """A method and its arguments."""

    method: str
    positional: tuple[Any, ...]
    named: dict[str, Any]


class Hostile:
    """An object that lies about its type and raises on every operation."""

    def _fail(self, *_: object) -> Any:
        raise RuntimeError("do not look at me")

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __int__ = __index__ = _fail
    __class__ = property(lambda self: str)  # type: ignore[assignment]


class OddStr(str):
    """A text whose methods return other texts."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"

    def __len__(self) -> int:
        return 1

    def encode(self, *_: object) -> bytes:
        return b"other"

    __repr__ = __format__ = upper = __str__  # type: ignore[assignment]


class OddInt(int):
    """A number that converts to another one."""

    def __int__(self) -> int:
        return -5

    def __str__(self) -> str:
        return "-5"

    __repr__ = __str__
    __index__ = __int__


class OddDict(dict):  # type: ignore[type-arg]
    """A dict that lists other contents."""

    def items(self) -> Any:
        return [("other", 1)]

    keys = values = __iter__ = items


class Nowhere(tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        raise ValueError("lost")


class Word(str, Enum):  # noqa: UP042 - its text is not that of a StrEnum
    USER = "user"
    THUMBS_UP = "thumbs_up"
    OTHER = "other"


class Number(IntEnum):
    ONE = 1
    ZERO = 0


_ODD = (
    st.builds(Hostile)
    | st.builds(OddStr, TEXT)
    | st.builds(OddInt, st.integers())
    | st.builds(OddDict, st.dictionaries(st.sampled_from("abc"), TEXT, max_size=3))
    | st.sampled_from([*Word, *Number])
    | NAIVE_TIMES.map(lambda time: time.replace(tzinfo=Nowhere()))
    | st.sampled_from([datetime.min, datetime.max])  # noqa: DTZ901 - a caller may give them
    | st.sampled_from([datetime.min, datetime.max]).map(lambda time: time.replace(tzinfo=UTC))  # noqa: DTZ901
)
_EDGES = (
    st.integers(62, 66).map(lambda length: "x" * length)
    | st.integers(254, 258).map(lambda length: "é" * length)
    | st.sampled_from(
        [0, 1, 2**31 - 1, 2**31, -1, "", " ", "user\n", "US\n", "ß", "\u0661.1.1.1", "01.1.1.1", "\x00", "﷐"]
    )
    | st.dictionaries(st.sampled_from(["a", "a\n", "_a", "é", "a" * 64, "a" * 65]), TEXT, max_size=3)
)
_VALUES = ANYTHING | _ODD | _EDGES


def _arguments_of(method: str) -> list[str]:
    return [*REQUIRED[method], *OPTIONAL[method], "event_id"]


_NAMES = sorted({name for method in METHODS for name in _arguments_of(method)} | {"self"})
_KEYS = st.sampled_from(_NAMES)


@st.composite
def any_calls(draw: st.DrawFn) -> list[Call]:
    """Draw a call that is valid, nearly valid or invalid, or calls with one wrong value for each argument in turn."""
    method, named = draw(calls())
    named = {**named, **draw(st.fixed_dictionaries({}, optional={"event_id": EVENT_IDS | st.none()}))}
    if "content" in named and draw(st.integers(0, 50)) == 0:
        named["content"] *= draw(st.integers(1, 20_000))
    kind = draw(st.sampled_from(["right", "each", "some", "names", "order", "all"]))
    if kind == "each":
        value = draw(_VALUES)
        return [Call(method, (), {**named, name: value}) for name in _arguments_of(method)]
    if kind == "some":
        wrong = draw(st.lists(st.sampled_from(_arguments_of(method)), min_size=1, max_size=4))
        named |= {name: draw(_VALUES) for name in wrong}
    elif kind == "names":
        named |= draw(st.dictionaries(st.sampled_from(_NAMES) | TEXT, _VALUES, max_size=2))
        for name in draw(st.lists(st.sampled_from(sorted(named)), max_size=2)):
            named.pop(name, None)
    elif kind == "order":  # the required ones come first, in the order of the signature
        return [Call(method, tuple(named.pop(name) for name in REQUIRED[method]), named)]
    elif kind == "all":
        return [Call(method, tuple(draw(st.lists(_VALUES, max_size=6))), draw(st.dictionaries(_KEYS, _VALUES)))]
    return [Call(method, (), named)]


_OPTIONS = [field.name for field in fields(Config)]


def any_options() -> st.SearchStrategy[dict[str, Any]]:
    """Return arguments of `Config`, some of them."""
    return st.dictionaries(st.sampled_from(_OPTIONS), _VALUES, max_size=4)


def any_names() -> st.SearchStrategy[tuple[Any, Any, Any]]:
    """Return a project id, an API key and a host."""
    return st.tuples(_VALUES | st.just("project"), _VALUES | st.just("key"), _VALUES | st.just("http://localhost"))


def any_timeouts() -> st.SearchStrategy[Any]:
    """Return timeouts of `flush`."""
    return _VALUES | st.floats(0, 5)
