"""Events on the wire: made, written and read back."""

from __future__ import annotations

import copy
import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignai._events.parser import parse
from alignai._events.schemas import load
from alignai._events.wire import build, encode, new_event_id
from alignai.validate import ValidationError
from tests.support.strategies import ANYTHING, EVENT_IDS, IDENTIFIERS, JSON, NOW, UNHURRIED, calls

RECORDED_AT = datetime(2026, 11, 23, 9, 47, 2, 484685, tzinfo=UTC)
WHEN = datetime(1969, 7, 20, 20, 17, tzinfo=UTC)


def event_of(method: str, **arguments: object) -> dict[str, Any]:
    return build(method, load(method, arguments), project_id="p", event_id="e-1", now=RECORDED_AT)


def refusal(event: object) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        parse(event)

    return caught.value.errors


MESSAGE = event_of("create_message", session_id="s", message_index=1, role="user", content="a secret")
USER = event_of("identify_user", user_id="u", country_code="kr", create_time=WHEN, custom_properties={"plan": "free"})
FEEDBACK = event_of("create_message_feedback", session_id="s", message_index=1, feedback_type="thumbs_up")
SESSION = event_of("open_session", session_id="s", user_id="u")


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    method, arguments = draw(calls())
    return build(method, load(method, arguments), project_id=draw(IDENTIFIERS), event_id=draw(EVENT_IDS), now=draw(NOW))


def _places(value: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = value.items() if isinstance(value, dict) else ()
    return [path, *(place for key, child in inner for place in _places(child, (*path, key)))]


def _changed(event: dict[str, Any], place: tuple[str, ...], value: object) -> object:
    if not place:
        return value
    changed = copy.deepcopy(event)
    target = changed
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return changed


def build_again(event: Any) -> dict[str, Any]:
    method, arguments = parse(event)
    if event["properties"].get("customProperties") == {}:
        del event["properties"]["customProperties"]
    now = datetime.fromisoformat(event["createTime"])
    return build(method, arguments, project_id=event["projectId"], event_id=event["id"], now=now)


@UNHURRIED
@given(calls(), IDENTIFIERS, EVENT_IDS, NOW)
def test_an_event_that_was_built_is_read_back(
    call: tuple[str, dict[str, Any]], project_id: str, event_id: str, now: datetime
) -> None:
    method, arguments = call
    checked = load(method, arguments)

    event = build(method, checked, project_id=project_id, event_id=event_id, now=now)

    assert parse(event) == (method, checked)


@UNHURRIED
@given(events())
def test_an_event_survives_its_json(event: dict[str, Any]) -> None:
    assert json.loads(encode(event)) == event
    assert b"\n" not in encode(event)


@UNHURRIED
@given(JSON)
def test_any_json_survives_encoding_unless_it_is_not_json(value: object) -> None:
    try:
        encoded = encode({"x": value})
    except ValidationError:
        encoded = json.dumps({"x": value}).encode()

        assert any(name in encoded for name in (b"NaN", b"Infinity"))
    else:
        assert json.loads(encoded) == {"x": value}


@UNHURRIED
@given(ANYTHING)
def test_any_value_at_all_is_read_as_an_event_or_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        parse(value)


@UNHURRIED
@given(events(), st.data())
def test_an_event_changed_in_one_place_is_refused_or_is_what_the_sdk_makes(
    event: dict[str, Any], data: st.DataObject
) -> None:
    changed = _changed(event, data.draw(st.sampled_from(_places(event))), data.draw(ANYTHING))
    with suppress(ValidationError):
        assert build_again(changed) == changed


@pytest.mark.parametrize(
    ("method", "arguments", "type_", "properties"),
    [
        ("identify_user", {"user_id": "u"}, "user_recognize", {"userProperties": {"userId": "u"}}),
        (
            "identify_user",
            {
                "user_id": "u",
                "display_name": "Ada",
                "email": "ada@example.com",
                "ip": "203.0.113.7",
                "country_code": "gb",
                "create_time": WHEN,
                "custom_properties": {"plan": "free"},
            },
            "user_recognize",
            {
                "userProperties": {
                    "userId": "u",
                    "userDisplayName": "Ada",
                    "userEmail": "ada@example.com",
                    "userIp": "203.0.113.7",
                    "userLocation": {"countryCode": "GB"},
                    "userCreateTime": "1969-07-20T20:17:00.000000Z",
                },
                "customProperties": {"plan": {"stringValue": "free"}},
            },
        ),
        (
            "open_session",
            {"session_id": "s", "user_id": "u"},
            "session_open",
            {"sessionProperties": {"sessionId": "s", "userId": "u", "assistantId": "DEFAULT"}},
        ),
        (
            "open_session",
            {
                "session_id": "s",
                "user_id": "u",
                "assistant_id": None,
                "session_title": "Moon",
                "create_time": WHEN,
            },
            "session_open",
            {
                "sessionProperties": {
                    "sessionId": "s",
                    "userId": "u",
                    "sessionTitle": "Moon",
                    "sessionStartTime": "1969-07-20T20:17:00.000000Z",
                }
            },
        ),
        (
            "create_message",
            {"session_id": "s", "message_index": 3, "role": "assistant", "content": "안녕", "create_time": WHEN},
            "message_create",
            {
                "messageProperties": {
                    "sessionId": "s",
                    "messageIndexHint": 3,
                    "messageRole": "ROLE_ASSISTANT",
                    "messageContent": "안녕",
                    "messageCreateTime": "1969-07-20T20:17:00.000000Z",
                }
            },
        ),
        ("close_session", {"session_id": "s"}, "session_close", {"sessionProperties": {"sessionId": "s"}}),
        (
            "create_message_feedback",
            {"session_id": "s", "message_index": 3, "feedback_type": "thumbs_up"},
            "feedback_create",
            {
                "feedbackProperties": {
                    "sessionId": "s",
                    "messageIndexHint": 3,
                    "feedbackTarget": "TARGET_MESSAGE",
                    "type": "thumbs_up",
                }
            },
        ),
        (
            "create_session_feedback",
            {"session_id": "s", "feedback_type": "thumbs_down"},
            "feedback_create",
            {"feedbackProperties": {"sessionId": "s", "feedbackTarget": "TARGET_SESSION", "type": "thumbs_down"}},
        ),
    ],
)
def test_a_method_gives_the_event_of_the_wires_table(
    method: str, arguments: dict[str, Any], type_: str, properties: dict[str, Any]
) -> None:
    assert event_of(method, **arguments) == {
        "id": "e-1",
        "type": type_,
        "createTime": "2026-11-23T09:47:02.484685Z",
        "projectId": "p",
        "properties": properties,
    }


def test_an_event_id_is_32_hexadecimal_digits_and_new() -> None:
    ids = {new_event_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(re.fullmatch(r"[0-9a-f]{32}", event_id) for event_id in ids)


def test_json_is_compact_and_in_utf8() -> None:
    assert encode({"a": ["é", 1], "b": None}) == '{"a":["é",1],"b":null}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), object(), b"x", {1, 2}, datetime.now(UTC), "\ud83d"])
def test_a_value_that_is_not_json_is_a_validation_error(value: object) -> None:
    with pytest.raises(ValidationError, match="cannot be written as JSON"):
        encode({"x": value})


def test_a_value_that_contains_itself_is_not_json() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValidationError, match="cannot be written as JSON"):
        encode(endless)


def test_an_error_of_encoding_gives_no_content_away() -> None:
    with pytest.raises(ValidationError) as caught:
        encode({"content": "a secret \ud83d"})

    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_the_events_id_is_no_argument() -> None:
    assert "event_id" not in parse(MESSAGE)[1]


def test_an_event_is_not_changed_by_reading() -> None:
    before = copy.deepcopy(USER)
    parse(USER)

    assert before == USER


def test_custom_properties_that_were_emptied_count_as_none() -> None:
    emptied = _changed(USER, ("properties", "customProperties"), {})

    assert "custom_properties" not in parse(emptied)[1]


def test_a_session_without_an_assistant_is_given_none_on_reading() -> None:
    session = copy.deepcopy(SESSION)
    del session["properties"]["sessionProperties"]["assistantId"]

    assert parse(session) == ("open_session", {"session_id": "s", "user_id": "u"})


@pytest.mark.parametrize("name", ["id", "type", "createTime", "projectId", "properties"])
def test_an_event_without_a_member_is_refused(name: str) -> None:
    event = {key: value for key, value in MESSAGE.items() if key != name}

    assert refusal(event) == {f"event.{name}": ["is missing"]}


def test_an_event_whose_type_and_properties_differ_is_refused() -> None:
    assert refusal({**MESSAGE, "type": "session_close"}) == {
        "event.properties.sessionProperties": ["is missing"],
        "event.properties.'messageProperties'": ["is not known here"],
    }


@pytest.mark.parametrize("name", ["sessionId", "messageIndexHint", "messageRole", "messageContent"])
def test_a_message_without_a_field_is_refused(name: str) -> None:
    event = copy.deepcopy(MESSAGE)
    del event["properties"]["messageProperties"][name]

    assert refusal(event) == {f"event.properties.messageProperties.{name}": ["is required"]}


@pytest.mark.parametrize(
    ("event", "place", "value", "wrong"),
    [
        (MESSAGE, ("extra",), 1, "event.'extra'"),
        (MESSAGE, ("properties", "userProperties"), {}, "event.properties.'userProperties'"),
        (
            MESSAGE,
            ("properties", "messageProperties", "messageIdHint"),
            "x",
            "event.properties.messageProperties.'messageIdHint'",
        ),
        (MESSAGE, ("properties",), [], "event.properties"),
        (MESSAGE, ("properties", "messageProperties"), None, "event.properties.messageProperties"),
        (MESSAGE, ("type",), "message_delete", "event.type"),
        (MESSAGE, ("type",), ["message_create"], "event.type"),
        (MESSAGE, ("id",), "a b", "event.id"),
        (MESSAGE, ("id",), None, "event.id"),
        (MESSAGE, ("id",), "x" * 65, "event.id"),
        (MESSAGE, ("projectId",), "", "event.projectId"),
        (MESSAGE, ("projectId",), 7, "event.projectId"),
        (MESSAGE, ("createTime",), None, "event.createTime"),
        (MESSAGE, ("properties", "customProperties"), {"1": {"stringValue": "x"}}, "event.properties.customProperties"),
        (MESSAGE, ("properties", "customProperties"), {"a": "x"}, "event.properties.customProperties"),
        (MESSAGE, ("properties", "customProperties"), {"a": {}}, "event.properties.customProperties"),
        (MESSAGE, ("properties", "customProperties"), None, "event.properties.customProperties"),
        (
            FEEDBACK,
            ("properties", "customProperties"),
            {"a": {"stringValue": "x"}},
            "event.properties.customProperties",
        ),
        (
            FEEDBACK,
            ("properties", "feedbackProperties", "feedbackTarget"),
            "TARGET_UNSPECIFIED",
            "event.properties.feedbackProperties.feedbackTarget",
        ),
        (
            FEEDBACK,
            ("properties", "feedbackProperties", "feedbackTarget"),
            "TARGET_SESSION",
            "event.properties.feedbackProperties.'messageIndexHint'",
        ),
    ],
)
def test_an_event_of_another_shape_is_refused_by_path(
    event: dict[str, Any], place: tuple[str, ...], value: object, wrong: str
) -> None:
    assert list(refusal(_changed(event, place, value))) == [wrong]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sessionId", ""),
        ("sessionId", None),
        ("messageIndexHint", 0),
        ("messageIndexHint", 1.0),
        ("messageIndexHint", True),
        ("messageIndexHint", "1"),
        ("messageRole", "user"),
        ("messageRole", "ROLE_UNSPECIFIED"),
        ("messageRole", 1),
        ("messageRole", ["ROLE_USER"]),
        ("messageContent", ""),
        ("messageContent", 5),
        ("messageCreateTime", None),
    ],
)
def test_a_field_that_the_sdk_would_not_send_is_refused(name: str, value: object) -> None:
    path = ("properties", "messageProperties", name)

    assert list(refusal(_changed(MESSAGE, path, value))) == [".".join(("event", *path))]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T09:47:02.484685+00:00",
        "2026-11-23T18:47:02.484685+09:00",
        "2026-11-23T09:47:02.484685",
        "2026-11-23T09:47:02Z",
        "2026-11-23T09:47:02.484Z",
        "2026-11-23 09:47:02.484685Z",
        "2026-11-23t09:47:02.484685z",
        "2026-11-31T09:47:02.484685Z",
        "2026-11-23T24:00:00.000000Z",
        "0000-01-01T00:00:00.000000Z",
        "2026-11-23T09:47:02.484685Z\n",
        "٢026-11-23T09:47:02.484685Z",
        "",
        1795427222,
    ],
)
def test_a_time_in_another_form_is_refused(text: object) -> None:
    assert list(refusal({**MESSAGE, "createTime": text})) == ["event.createTime"]


@pytest.mark.parametrize(
    "location", [{"countryCode": "kr"}, {"countryCode": "K"}, {}, "KR", {"countryCode": "KR", "city": "Seoul"}, None]
)
def test_a_location_in_another_form_is_refused(location: object) -> None:
    path = ("properties", "userProperties", "userLocation")

    assert list(refusal(_changed(USER, path, location))) == [".".join(("event", *path))]


@pytest.mark.parametrize("event", [None, [], "x", 1, [MESSAGE]])
def test_a_value_that_is_no_object_is_no_event(event: object) -> None:
    assert refusal(event) == {"event": [f"must be an object, not {type(event).__name__}"]}


def test_an_error_of_reading_lists_all_that_is_wrong_and_no_content() -> None:
    event = copy.deepcopy(MESSAGE)
    event |= {"id": "a b", "projectId": "", "createTime": "now"}
    event["properties"]["messageProperties"] |= {"messageIndexHint": 0, "messageRole": "a secret"}

    errors = refusal(event)

    assert set(errors) == {
        "event.id",
        "event.projectId",
        "event.createTime",
        "event.properties.messageProperties.messageIndexHint",
        "event.properties.messageProperties.messageRole",
    }
    assert "secret" not in str(errors)


def test_a_time_that_is_recorded_elsewhere_still_names_its_moment() -> None:
    now = RECORDED_AT.astimezone(timezone(timedelta(hours=9)))

    event = build("close_session", {"session_id": "s"}, project_id="p", event_id="e", now=now)

    assert datetime.fromisoformat(event["createTime"]) == RECORDED_AT
