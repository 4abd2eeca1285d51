"""Hypothesis strategies: the arguments of the event methods, good ones and any at all."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# The facts of these tests do not depend on the speed of the machine.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_UNICODE = st.characters(exclude_categories=["Cs"])
_WORD = string.ascii_letters + string.digits + "_"

TEXT = st.text(_UNICODE)
IDENTIFIERS = st.text(_UNICODE, min_size=1, max_size=64)
EVENT_IDS = st.text(_WORD + "-", min_size=1, max_size=64)
INDEXES = st.integers(1, 2**31 - 1)
NAIVE_TIMES = st.datetimes()
# A day from either end, so that no offset leads out of the calendar.
AWARE_TIMES = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis wants it naive
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)
NOW = st.datetimes(timezones=st.just(UTC))
CUSTOM_PROPERTIES = st.dictionaries(
    st.builds(str.__add__, st.sampled_from(string.ascii_letters), st.text(_WORD, max_size=63)),
    st.text(_UNICODE, max_size=256),
    max_size=10,
)

_SESSION = {"session_id": IDENTIFIERS}
_FEEDBACK = {**_SESSION, "feedback_type": st.sampled_from(["thumbs_up", "thumbs_down"])}
_TIME = NAIVE_TIMES | AWARE_TIMES | st.none()


def _short(longest: int) -> st.SearchStrategy[str | None]:
    return st.none() | st.text(_UNICODE, max_size=longest)


REQUIRED: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "identify_user": {"user_id": IDENTIFIERS},
    "open_session": {**_SESSION, "user_id": IDENTIFIERS},
    "create_message": {
        **_SESSION,
        "message_index": INDEXES,
        "role": st.sampled_from(["user", "assistant"]),
        "content": TEXT.filter(bool),
    },
    "close_session": _SESSION,
    "create_message_feedback": {**_FEEDBACK, "message_index": INDEXES},
    "create_session_feedback": _FEEDBACK,
}
OPTIONAL: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "identify_user": {
        "display_name": _short(64),
        "email": _short(256),
        "ip": st.none() | st.ip_addresses(v=4).map(str),
        "country_code": st.none() | st.text(string.ascii_letters, min_size=2, max_size=2),
        "create_time": _TIME,
        "custom_properties": st.none() | CUSTOM_PROPERTIES,
    },
    "open_session": {
        "assistant_id": _short(64),
        "custom_properties": st.none() | CUSTOM_PROPERTIES,
        "session_title": _short(256),
        "create_time": _TIME,
    },
    "create_message": {"custom_properties": st.none() | CUSTOM_PROPERTIES, "create_time": _TIME},
    "close_session": {},
    "create_message_feedback": {},
    "create_session_feedback": {},
}
METHODS = sorted(REQUIRED)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A method, and arguments that it takes."""
    method = draw(st.sampled_from(METHODS))
    return method, draw(st.fixed_dictionaries(REQUIRED[method], optional=OPTIONAL[method]))


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, float("nan"), float("inf"), b"x", object(), str, ...])
    | st.integers(4300, 5000).map(lambda digits: 10**digits)  # more than Python will print
    | st.floats()
    | st.text(st.characters(), max_size=300)  # lone surrogates and all
    | st.binary(max_size=20)
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=12),
    max_leaves=8,
)


class Index:
    """A value that Python takes for an index, such as a `numpy.int64`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __index__(self) -> Any:
        return self.value
