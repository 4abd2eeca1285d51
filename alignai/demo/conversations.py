"""Conversations in the OpenAI chat form, and the calls of the SDK that record them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignai._events import schemas
from alignai.constants import ROLE_ASSISTANT, ROLE_USER
from alignai.validate import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SAMPLE_ROUNDS = 8
_SAMPLE = (
    ("Hi, where is my parcel?", "It left the depot this morning and should reach you before six.", "Thanks!"),
    (
        "Wie spät ist es in Seoul, wenn es in Wien zwölf ist?",
        "Im Winter acht Stunden später: 20 Uhr.",
        "Und im Sommer?",
        "Dann sind es sieben Stunden: 19 Uhr.",
    ),
    (
        "비 오는 날 듣기 좋은 노래 추천해 줘",
        "잔잔한 재즈 피아노는 어떠세요?",
        "좋아!",
        "그럼 세 곡을 골라 드릴게요.",
    ),
    (
        "My test passes alone and fails with the others.",
        "Then something is shared between them. Does it fail when you run it second, after each of the others in turn?",
        "Only after test_login.",
        "Look at what test_login leaves behind: a global, a file, an environment variable.",
        "It sets a default locale. Found it, thank you!",
        "Good catch. A fixture that puts it back will keep it from returning.",
    ),
    ("Can I freeze cooked rice?", "Yes: cool it quickly, freeze it the same day, and use it within a month."),
)


class InputError(ValueError):
    """The conversations cannot be recorded. The message has the line and the reason, and no contents."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the SDK: the name of the method, its arguments, and the event id, which a repeated call keeps."""

    event_id: str
    method: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Script:
    """The steps of all conversations, in order, the number of sessions, and the number of skipped messages."""

    steps: tuple[Step, ...]
    sessions: int
    skipped: int


def sample() -> list[bytes]:
    """Return a few dozen short conversations, as lines for `read`."""
    roles = (ROLE_USER, ROLE_ASSISTANT)
    dialogues = [[{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)] for texts in _SAMPLE]
    return [json.dumps({"messages": messages}).encode() for _ in range(_SAMPLE_ROUNDS) for messages in dialogues]


def read(lines: Iterable[bytes]) -> Script:
    """
    Read conversations, one JSON object per line: `{"messages": [{"role": …, "content": …}, …]}`.

    Each line becomes one session, with a user of its own. The content of a message is a string, null, or a list of
    parts, and only parts of type "text" are recorded. Messages of other roles than user and assistant, and messages
    without text, are skipped and counted.

    Raises:
        InputError: A line does not have this form, exceeds a limit of the SDK, or no line has a message to record.

    """
    steps: list[Step] = []
    sessions = skipped = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        messages = _messages(line, f"line {number}")
        turns = [(role, text) for role, text in messages if role in {ROLE_USER, ROLE_ASSISTANT} and text]
        skipped += len(messages) - len(turns)
        if turns:
            sessions += 1
            steps += _steps(number, turns)
    if not steps:
        raise InputError("no line holds a message by user or assistant")
    return Script(tuple(steps), sessions, skipped)


def _messages(line: bytes, where: str) -> list[tuple[str, str]]:
    try:
        conversation = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise InputError(f"{where}: not a JSON object in UTF-8") from None
    messages = conversation.get("messages") if isinstance(conversation, dict) else None
    if not isinstance(messages, list):
        raise InputError(f'{where}: not an object with a list under "messages"')
    return [_message(message, f"{where}, message {i}") for i, message in enumerate(messages, start=1)]


def _message(message: object, where: str) -> tuple[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise InputError(f'{where}: not an object with a text under "role"')
    return message["role"], _text(message.get("content"), where)


def _text(content: object, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InputError(f"{where}: the content is neither a string, null nor a list of parts")
    return "".join(_part(part, where) for part in content)


def _part(part: object, where: str) -> str:
    kind, text = (part.get("type"), part.get("text")) if isinstance(part, dict) else (None, None)
    if not isinstance(kind, str) or (kind == "text" and not isinstance(text, str)):
        raise InputError(f'{where}: a part of the content is not an object with a "type" and, for type "text", a text')
    return str(text) if kind == "text" else ""


def _steps(number: int, turns: list[tuple[str, str]]) -> Iterator[Step]:
    session_id, user_id = f"session-{number:04}", f"user-{number:04}"
    calls: list[tuple[str, dict[str, Any]]] = [
        ("identify_user", {"user_id": user_id}),
        ("open_session", {"session_id": session_id, "user_id": user_id}),
    ]
    for index, (role, content) in enumerate(turns, start=1):
        message = {"session_id": session_id, "message_index": index, "role": role, "content": content}
        calls.append(("create_message", message))
    calls.append(("close_session", {"session_id": session_id}))
    for position, (method, arguments) in enumerate(calls, start=1):
        yield _checked(Step(f"{session_id}-{position:04}", method, arguments), f"line {number}")


def _checked(step: Step, where: str) -> Step:
    try:
        schemas.load(step.method, step.arguments)
    except ValidationError as error:
        raise InputError(f"{where}: {error}") from None
    return step
