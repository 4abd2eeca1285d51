"""The limits of every argument, and the errors beyond them."""

from __future__ import annotations

import enum
import ipaddress
import pickle
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from itertools import count
from types import MappingProxyType
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignai._events.schemas import SCHEMAS, check_project_id, load
from alignai.exception import AlignAIError
from alignai.validate import ValidationError
from tests.support.strategies import ANYTHING, METHODS, OPTIONAL, REQUIRED, UNHURRIED, Index, calls

GOOD: dict[str, dict[str, Any]] = {
    "identify_user": {"user_id": "u-1"},
    "open_session": {"session_id": "s-1", "user_id": "u-1"},
    "create_message": {"session_id": "s-1", "message_index": 1, "role": "user", "content": "Hi"},
    "close_session": {"session_id": "s-1"},
    "create_message_feedback": {"session_id": "s-1", "message_index": 1, "feedback_type": "thumbs_up"},
    "create_session_feedback": {"session_id": "s-1", "feedback_type": "thumbs_down"},
}
METHOD_OF = {
    "user_id": "identify_user",
    "display_name": "identify_user",
    "email": "identify_user",
    "ip": "identify_user",
    "country_code": "identify_user",
    "assistant_id": "open_session",
    "session_title": "open_session",
    "create_time": "create_message",
    "custom_properties": "create_message",
    "session_id": "create_message",
    "message_index": "create_message",
    "role": "create_message",
    "content": "create_message",
    "feedback_type": "create_session_feedback",
    "event_id": "close_session",
}
ARGUMENTS = [(method, name) for method in METHODS for name in [*REQUIRED[method], *OPTIONAL[method], "event_id"]]


def accepted(name: str, value: object) -> object:
    method = METHOD_OF[name]
    return load(method, {**GOOD[method], name: value}).get(name)


def errors_of(method: str, arguments: dict[str, Any]) -> dict[str, list[str]]:
    try:
        load(method, arguments)
    except ValidationError as error:
        return error.errors
    return {}


def refused(name: str, value: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        accepted(name, value)

    assert list(caught.value.errors) == [name]
    return caught.value.errors[name]


@UNHURRIED
@given(calls())
def test_values_within_the_limits_are_accepted(call: tuple[str, dict[str, Any]]) -> None:
    method, arguments = call

    assert set(load(method, arguments)) <= {*arguments, "assistant_id"}


@UNHURRIED
@given(st.sampled_from(ARGUMENTS), ANYTHING)
def test_any_value_for_an_argument_is_accepted_or_refused_by_its_name(argument: tuple[str, str], value: object) -> None:
    method, name = argument

    errors = errors_of(method, {**GOOD[method], name: value})

    assert list(errors) in ([], [name])


@UNHURRIED
@given(calls())
def test_accepted_arguments_are_accepted_again_unchanged(call: tuple[str, dict[str, Any]]) -> None:
    method, arguments = call
    once = load(method, arguments)

    again = load(method, {"assistant_id": None, **once} if method == "open_session" else once)

    assert again == once


@pytest.mark.parametrize("method", METHODS)
def test_every_schema_takes_the_arguments_of_its_method(method: str) -> None:
    assert set(SCHEMAS[method].fields) == {*REQUIRED[method], *OPTIONAL[method], "event_id"}


@pytest.mark.parametrize(("method", "name"), [(method, name) for method in METHODS for name in REQUIRED[method]])
def test_a_required_argument_may_be_neither_missing_nor_none(method: str, name: str) -> None:
    rest = {other: value for other, value in GOOD[method].items() if other != name}
    for arguments, text in ((rest, "is required"), ({**rest, name: None}, "must not be None")):
        with pytest.raises(ValidationError) as caught:
            load(method, arguments)

        assert caught.value.errors == {name: [text]}


@pytest.mark.parametrize(("method", "name"), [(method, name) for method in METHODS for name in OPTIONAL[method]])
def test_an_optional_argument_that_is_none_is_left_out(method: str, name: str) -> None:
    assert name not in load(method, {**GOOD[method], name: None})


def test_a_session_has_the_default_assistant_where_none_is_named() -> None:
    assert load("open_session", GOOD["open_session"])["assistant_id"] == "DEFAULT"


@pytest.mark.parametrize("name", ["user_id", "session_id", "event_id"])
def test_an_identifier_has_1_to_64_characters(name: str) -> None:
    assert accepted(name, "x") == "x"
    assert accepted(name, "x" * 64) == "x" * 64
    assert refused(name, "")
    assert refused(name, "x" * 65)


@pytest.mark.parametrize(
    ("name", "longest"), [("display_name", 64), ("assistant_id", 64), ("email", 256), ("session_title", 256)]
)
def test_an_optional_text_has_a_longest(name: str, longest: int) -> None:
    # In characters, each of which is four bytes here.
    assert accepted(name, "🦜" * longest) == "🦜" * longest
    assert accepted(name, "") == ""
    assert refused(name, "🦜" * (longest + 1)) == [f"must have at most {longest} characters"]


@pytest.mark.parametrize("index", [1, 2, 2**31 - 1])
def test_an_index_within_int32_is_accepted(index: int) -> None:
    assert accepted("message_index", index) == index


@pytest.mark.parametrize("index", [0, -1, 2**31])
def test_an_index_below_1_or_above_int32_is_refused(index: int) -> None:
    assert refused("message_index", index) == [f"must be from 1 to 2147483647, not {index}"]


def test_an_index_too_long_to_print_is_refused() -> None:
    assert refused("message_index", 10**5000) == ["must be a number of at most 64 bits"]


@pytest.mark.parametrize(("index", "kind"), [(True, "bool"), (1.0, "float"), ("1", "str")])
def test_an_index_that_is_no_int_is_refused(index: object, kind: str) -> None:
    assert refused("message_index", index) == [f"must be an int, not {kind}"]


@pytest.mark.parametrize("role", ["User", "system", "", "user\n", "ROLE_USER"])
def test_another_role_is_refused_and_shown(role: str) -> None:
    assert refused("role", role) == [f"must be one of: user, assistant; not {role!r}"]


@pytest.mark.parametrize("name", ["role", "feedback_type"])
def test_a_message_in_the_place_of_a_choice_is_not_given_away(name: str) -> None:
    assert "secret" not in str(refused(name, "This message goes on and holds a secret"))


def test_a_feedback_is_thumbs_up_or_down() -> None:
    assert accepted("feedback_type", "thumbs_down") == "thumbs_down"
    assert refused("feedback_type", "up") == ["must be one of: thumbs_up, thumbs_down; not 'up'"]


def test_a_message_must_not_be_empty() -> None:
    assert refused("content", "") == ["must not be empty"]


@pytest.mark.parametrize(
    "name", ["user_id", "session_id", "display_name", "email", "assistant_id", "session_title", "content"]
)
def test_a_lone_surrogate_is_refused(name: str) -> None:
    assert refused(name, "ab\ud83d") == ["is not valid Unicode: a lone surrogate at index 2"]


@pytest.mark.parametrize("value", [b"bytes", 1, 1.5, True, ["x"], {"x": 1}, object()])
@pytest.mark.parametrize("name", ["user_id", "email", "ip", "country_code", "role", "content", "event_id"])
def test_a_text_of_another_type_is_refused(name: str, value: object) -> None:
    assert refused(name, value) == [f"must be a str, not {type(value).__name__}"]


@pytest.mark.parametrize("content", ["top secret\ud83d", b"top secret", {"text": "top secret"}, ["top secret"]])
def test_no_error_gives_a_message_away(content: object) -> None:
    with pytest.raises(ValidationError) as caught:
        load("create_message", {**GOOD["create_message"], "content": content})

    assert "secret" not in f"{caught.value} {caught.value.errors}"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("ip", ["0.0.0.0", "203.0.113.7", "255.255.255.255"])
def test_an_ipv4_address_is_accepted(ip: str) -> None:
    assert accepted("ip", ip) == ip


@pytest.mark.parametrize("ip", ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4\n", "\u0661.2.3.4", "::1"])
def test_another_address_is_refused(ip: str) -> None:
    assert refused("ip", ip) == [f"must be an IPv4 address such as 203.0.113.7, not {ip!r}"]


@UNHURRIED
@given(st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){2,4}", fullmatch=True) | st.ip_addresses().map(str))
def test_an_address_is_ipv4_where_the_standard_library_says_so(ip: str) -> None:
    try:
        ipaddress.IPv4Address(ip)
    except ValueError:
        assert refused("ip", ip)
    else:
        assert accepted("ip", ip) == ip


@pytest.mark.parametrize("code", ["kr", "Kr", "kR", "KR"])
def test_a_country_code_becomes_upper_case(code: str) -> None:
    assert accepted("country_code", code) == "KR"


@pytest.mark.parametrize("code", ["", "K", "KOR", "K1", "ß", "\u0131d", "KR\n", "한국"])
def test_a_country_code_is_two_ascii_letters(code: str) -> None:
    assert refused("country_code", code) == [f"must be two ASCII letters, not {code!r}"]


@pytest.mark.parametrize("event_id", ["a b", "a.b", "a/b", "é", "a\n", "x" * 65])
def test_an_event_id_of_other_characters_is_refused(event_id: str) -> None:
    assert len(refused("event_id", event_id)) == 1


def test_a_naive_time_is_taken_as_utc() -> None:
    assert accepted("create_time", datetime(2026, 11, 23, 9, 47)) == datetime(2026, 11, 23, 9, 47, tzinfo=UTC)  # noqa: DTZ001


def test_a_time_elsewhere_is_converted_to_utc() -> None:
    seoul = timezone(timedelta(hours=9))

    when = accepted("create_time", datetime(1969, 7, 21, 5, 17, tzinfo=seoul))

    assert when == datetime(1969, 7, 20, 20, 17, tzinfo=UTC)
    assert isinstance(when, datetime)
    assert when.tzinfo is UTC


@pytest.mark.parametrize("value", [date(2026, 11, 23), "2026-11-23T09:47:02Z", 1795427222, 1.5, True])
def test_a_value_that_is_no_datetime_is_no_time(value: object) -> None:
    assert refused("create_time", value) == [f"must be a datetime, not {type(value).__name__}"]


@pytest.mark.parametrize(
    "when",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(9999, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-1))),
    ],
)
def test_a_time_outside_the_calendar_once_in_utc_is_refused(when: datetime) -> None:
    assert refused("create_time", when) == ["must be a time whose year in UTC is 1 to 9999"]


def test_a_time_zone_that_fails_is_an_error_of_its_time() -> None:
    class Broken(tzinfo):
        def utcoffset(self, when: datetime | None) -> timedelta:
            raise LookupError(when)

        dst = tzname = utcoffset  # type: ignore[assignment]

    assert refused("create_time", datetime(2026, 11, 23, tzinfo=Broken()))


def test_ten_custom_properties_of_the_longest_are_accepted() -> None:
    most = {f"k{number}".ljust(64, "_"): "é" * 256 for number in range(10)}

    assert accepted("custom_properties", most) == most


def test_no_custom_properties_are_left_out() -> None:
    assert accepted("custom_properties", {}) is None


def test_more_than_ten_custom_properties_are_refused_and_not_listed() -> None:
    many = {f"k{number}": number for number in range(11)}

    assert refused("custom_properties", many) == ["must have at most 10 entries"]


@pytest.mark.parametrize("key", ["", "1a", "_a", "a-b", "a b", "é", "a\n", "a" * 65])
def test_a_key_of_another_pattern_is_refused(key: str) -> None:
    [text] = refused("custom_properties", {key: "x"})

    assert text.startswith("key '")
    assert text.endswith("must be an ASCII letter and at most 63 ASCII letters, digits or _")


def test_every_error_in_custom_properties_is_listed() -> None:
    texts = refused("custom_properties", {"plan": 3, "note": "x" * 257, 7: "x", "ok": "x", "city": None})

    assert texts == [
        "value of key 'plan' must be a str, not int",
        "value of key 'note' must have at most 256 characters",
        "key must be a str, not int",
        "value of key 'city' must not be None",
    ]


@pytest.mark.parametrize("value", [[("a", "b")], "a", 1, Mock(spec=dict)])
def test_custom_properties_that_are_no_dict_are_refused(value: object) -> None:
    assert refused("custom_properties", value) == [f"must be a dict, not {type(value).__name__}"]


def test_the_caller_may_change_its_dict_afterwards() -> None:
    given_by_caller = {"plan": "free"}
    taken = accepted("custom_properties", given_by_caller)

    given_by_caller["plan"] = "paid"

    assert taken == {"plan": "free"}


@pytest.mark.parametrize(
    "mapping",
    [
        MappingProxyType({"plan": "free"}),
        UserDict(plan="free"),
        OrderedDict(plan="free"),
        ChainMap({"plan": "free"}, {"plan": "paid"}),
    ],
    ids=lambda mapping: type(mapping).__name__,
)
def test_custom_properties_may_be_any_mapping(mapping: Mapping[str, str]) -> None:
    taken = accepted("custom_properties", mapping)

    assert (type(taken), taken, dict(mapping)) == (dict, {"plan": "free"}, {"plan": "free"})


class Endless(Mapping[str, str]):
    """A mapping that never ends, and does not know its length."""

    def __getitem__(self, key: str) -> str:
        return key

    def __iter__(self) -> Iterator[str]:
        return (f"key{number}" for number in count())

    def __len__(self) -> int:
        return 1


class Unreadable(Endless):
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("not now")


def test_a_mapping_without_end_is_refused() -> None:
    assert refused("custom_properties", Endless()) == ["must have at most 10 entries"]


def test_a_mapping_that_cannot_be_read_is_refused() -> None:
    assert refused("custom_properties", Unreadable()) == ["must be a dict, not a mapping that cannot be read"]


@pytest.mark.parametrize("value", [Index(7), enum.IntEnum("Place", {"SEVENTH": 7}).SEVENTH], ids=["index", "enum"])
def test_anything_that_python_takes_for_an_index_is_an_index(value: object) -> None:
    index = accepted("message_index", value)

    assert (type(index), index) == (int, 7)


@pytest.mark.parametrize("value", [True, 7.0, "7", Decimal(7), Index("7"), Mock(), MagicMock()])
def test_an_ambiguous_index_is_refused(value: object) -> None:
    assert refused("message_index", value) == [f"must be an int, not {type(value).__name__}"]


def test_an_enums_member_counts_by_its_value() -> None:
    class Role(enum.StrEnum):
        USER = "user"

    role = accepted("role", Role.USER)

    assert (type(role), role) == (str, "user")


@pytest.mark.parametrize("kind", [str, int, datetime, dict])
@pytest.mark.parametrize("name", ["content", "message_index", "create_time", "custom_properties"])
def test_a_mock_is_of_no_type_that_it_is_like(name: str, kind: type) -> None:
    assert len(refused(name, Mock(spec=kind))) == 1


def test_an_error_lists_all_that_is_wrong_by_argument() -> None:
    with pytest.raises(ValidationError) as caught:
        load("create_message", {"session_id": 7, "message_index": 0, "role": "system", "event_id": "a b"})

    assert set(caught.value.errors) == {"session_id", "message_index", "role", "content", "event_id"}
    assert caught.value.message == (
        "create_message: event_id must have 1 to 64 of the characters A-Z a-z 0-9 _ -, not 'a b'; "
        "session_id must be a str, not int; message_index must be from 1 to 2147483647, not 0; "
        "role must be one of: user, assistant; not 'system'; content is required"
    )


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        load("close_session", {"session_id": "s", "reason": "x"})

    assert caught.value.errors == {"reason": ["is not known here"]}


@pytest.mark.parametrize("project_id", ["p", "x" * 64, "프로젝트"])
def test_a_project_id_has_1_to_64_characters(project_id: str) -> None:
    assert check_project_id(project_id) == project_id


@pytest.mark.parametrize("project_id", ["", "x" * 65, "\udc80", 7, None])
def test_another_project_id_is_refused(project_id: object) -> None:
    with pytest.raises(ValidationError) as caught:
        check_project_id(project_id)

    assert list(caught.value.errors) == ["project_id"]


def test_a_validation_error_is_a_value_error_and_an_align_ai_error() -> None:
    assert issubclass(ValidationError, ValueError)
    assert issubclass(ValidationError, AlignAIError)


def test_a_validation_error_survives_pickling() -> None:
    error = ValidationError("role is required", {"role": ["is required"]})

    copy = pickle.loads(pickle.dumps(error))

    assert (str(copy), copy.message, copy.errors) == ("role is required", "role is required", error.errors)


def test_a_validation_error_needs_no_errors_by_field() -> None:
    assert ValidationError("no").errors == {}
