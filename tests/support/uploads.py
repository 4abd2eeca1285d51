"""Events to upload, and ways to upload them."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from alignai._transport.api_client import APIClient, Outcome
from alignai.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEY = "NIUaqth_TsuIQWox_TfD5sCEQ8PebffFjF76u7Vsl2o="
REQUEST_ID = "0123456789abcdef0123456789abcdef"
SOON = 3.0
"""Seconds in which an operation with a deadline of half a second ends, on a slow machine too."""


def event(number: int = 0, content: str = "Hey, you there?") -> dict[str, Any]:
    """A message as it goes over the wire."""
    message = {
        "sessionId": "SESSION_ID",
        "messageIndexHint": number + 1,
        "messageRole": "ROLE_USER",
        "messageContent": content,
    }
    return {
        "id": f"{number:032x}",
        "type": "message_create",
        "createTime": "2026-11-23T09:47:02.484685Z",
        "projectId": "PROJECT_ID",
        "properties": {"messageProperties": message},
    }


def encoded(*events: dict[str, Any]) -> list[bytes]:
    return [json.dumps(one, separators=(",", ":")).encode() for one in events]


ONE = encoded(event())
"""A batch too small to be compressed."""
MANY = encoded(*(event(number) for number in range(20)))
"""A batch worth compressing."""


@cache
def huge() -> list[bytes]:
    """A batch that is more, compressed too, than the buffers between two sockets hold."""
    return encoded(event(content=os.urandom(8 * 2**20).hex()))


def upload(client: APIClient, events: Sequence[bytes] = ONE, seconds: float = 10.0) -> Outcome:
    return client.upload(REQUEST_ID, events, Deadline.after(seconds))


def upload_to(url: str, events: Sequence[bytes] = ONE, seconds: float = 10.0) -> Outcome:
    """The outcome of one upload by a client of its own."""
    client = APIClient(url, KEY)
    try:
        return upload(client, events, seconds)
    finally:
        client.close()


def timed(url: str, events: Sequence[bytes] = ONE) -> tuple[Outcome, bool]:
    """The outcome of an upload with half a second's deadline, and whether it came soon."""
    start = time.monotonic()
    outcome = upload_to(url, events, seconds=0.5)
    return outcome, time.monotonic() - start < SOON


def cancelled(
    url: str, under_way: Callable[[], bool], events: Sequence[bytes] = ONE, *, first: int = 0
) -> tuple[Outcome, bool]:
    """The outcome of an upload cancelled once it is under way, after *first* others, and whether that ended it soon."""
    client = APIClient(url, KEY)
    for _ in range(first):
        upload(client, events)
    outcomes: list[Outcome] = []
    uploading = threading.Thread(target=lambda: outcomes.append(upload(client, events, seconds=60)))
    uploading.start()
    try:
        wait_until(under_way)
        start = time.monotonic()
        client.cancel()
        uploading.join(SOON)
        return outcomes[0], time.monotonic() - start < SOON
    finally:
        client.cancel()
        uploading.join()
        client.close()


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for *condition*; a failure after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what the test waits for has not happened"
        time.sleep(0.002)


def unreachable() -> str:
    """Return an address on which no server listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"
