"""
A table of calls of which both SDKs must make the same events.

It is run in an environment that holds the vendor's package alone, so it imports nothing but the standard library.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

NAIVE = datetime(2024, 2, 29, 23, 59, 59, 123456)  # noqa: DTZ001 - naive times are tested
TOKYO = timezone(timedelta(hours=9))
SEVERAL = {"plan": "pro", "Locale_2": "日本語", "empty": "", "emoji": "👩‍👩‍👧‍👦", "quote": '"\\\n\t\x00'}

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("identify_user", {"user_id": "u1"}),
    (
        "identify_user",
        {
            "user_id": "u" * 64,
            "display_name": "Zoë 🦊",
            "email": "zoe@example.com",
            "ip": "203.0.113.7",
            "country_code": "NL",
            "create_time": NAIVE,
            "custom_properties": SEVERAL,
        },
    ),
    ("identify_user", {"user_id": "u2", "display_name": "", "email": "", "custom_properties": {}}),
    ("identify_user", {"user_id": "u3", "ip": "0.0.0.0"}),
    ("identify_user", {"user_id": "u4", "create_time": datetime(2023, 5, 17, 8, 30, tzinfo=UTC)}),
    ("identify_user", {"user_id": "u5", "create_time": datetime(2023, 5, 17, 8, 30, 1, 5, tzinfo=TOKYO)}),
    ("identify_user", {"user_id": "u6", "create_time": datetime(1969, 7, 20, 20, 17, 40, 1, tzinfo=UTC)}),
    ("identify_user", {"user_id": "u7", "create_time": datetime(1970, 1, 1)}),  # noqa: DTZ001
    ("open_session", {"session_id": "s1", "user_id": "u1"}),
    ("open_session", {"session_id": "s2", "user_id": "u1", "assistant_id": ""}),
    (
        "open_session",
        {"session_id": "s" * 64, "user_id": "u1", "assistant_id": "a" * 64, "custom_properties": SEVERAL},
    ),
    ("create_message", {"session_id": "s1", "message_index": 1, "role": "assistant", "content": "Hello!"}),
    (
        "create_message",
        {"session_id": "s1", "message_index": 2, "role": "user", "content": "Grüße — مرحبا\r\n\x7f\U0001d518"},
    ),
    (
        "create_message",
        {
            "session_id": "s1",
            "message_index": 2147483647,
            "role": "user",
            "content": "x" * 10_000,
            "custom_properties": {f"key{number}": "v" * 256 for number in range(10)},
        },
    ),
    ("create_message_feedback", {"session_id": "s1", "message_index": 1, "feedback_type": "thumbs_up"}),
    ("create_message_feedback", {"session_id": "s1", "message_index": 2, "feedback_type": "thumbs_down"}),
    ("create_session_feedback", {"session_id": "s1", "feedback_type": "thumbs_up"}),
    ("create_session_feedback", {"session_id": "s1", "feedback_type": "thumbs_down"}),
    ("close_session", {"session_id": "s1"}),
]
