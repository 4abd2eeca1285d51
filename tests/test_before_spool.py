"""The user's hook: its argument, and the effects of its errors."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from alignai import Config, ValidationError
from tests.support.clients import PROJECT, ROOT, client
from tests.support.uploads import unreachable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer

    Hook = Callable[[dict[str, Any]], Any]

SECRET = "my number is 555-0100"


class HookError(Exception):
    """The exception of a hook."""


def fails(event: dict[str, Any]) -> dict[str, Any]:
    raise HookError(event["properties"]["messageProperties"]["messageContent"])


def spoils(event: dict[str, Any]) -> dict[str, Any]:
    event["properties"]["messageProperties"]["messageContent"] = {"text": SECRET}
    return event


def readme(heading: str, language: str) -> str:
    """The first block of code in *language* under *heading*."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def test_readme_shows_the_dict_that_the_hook_is_given(spool_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    with client(unreachable(), spool_path, before_spool=seen.append, flush_timeout_seconds=0) as sdk:
        sdk.create_message("s-1", 1, "user", "Hey, you there?", {"plan": "free"})
    shown = json.loads(readme("Masking personal data", "json"))
    varying = {"id": seen[0]["id"], "createTime": seen[0]["createTime"], "projectId": PROJECT}

    assert {**shown, **varying} == seen[0]
    assert list(shown) == list(seen[0])


def test_the_hook_in_readme_masks_as_described(connect_server: ConnectServer, spool_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(readme("Masking personal data", "python"), names)
    config = names["config"]
    assert isinstance(config, Config)
    with client(connect_server.url, spool_path, before_spool=config.before_spool) as sdk:
        sdk.create_message("s-1", 1, "user", "write to ada@example.com, please")
        assert sdk.identify_user("u-1", email="ada@example.com") is None
        assert sdk.flush()
        assert sdk.stats().filtered == 1
    (event,) = connect_server.events()
    assert event["properties"]["messageProperties"]["messageContent"] == "write to ***, please"


@pytest.mark.parametrize("disabled", [False, True])
def test_events_that_the_hook_drops_are_counted(spool_path: Path, *, disabled: bool) -> None:
    def drops(event: dict[str, Any]) -> dict[str, Any] | None:
        return None if event["type"] == "session_close" else event

    with client(unreachable(), spool_path, before_spool=drops, disabled=disabled, flush_timeout_seconds=0) as sdk:
        assert [sdk.close_session("s1"), sdk.close_session("s2")] == [None, None]
        assert sdk.open_session("s1", "u1")
        stats = sdk.stats()
    assert (stats.filtered, stats.lost, stats.pending) == (2, 0, 0 if disabled else 1)


def test_an_exception_of_the_hook_is_raised_unchanged_with_a_note(spool_path: Path) -> None:
    with client(unreachable(), spool_path, before_spool=fails) as sdk:
        with pytest.raises(HookError) as caught:
            sdk.create_message("s1", 1, "user", SECRET)
        stats = sdk.stats()
    assert caught.value.__notes__ == ["before_spool raised this. The event has not been recorded."]
    assert caught.value.__cause__ is None
    assert caught.traceback[-1].name == "fails"
    assert (stats.filtered, stats.lost, stats.unsent) == (0, 0, 0)


@pytest.mark.parametrize("hook", [fails, spoils, lambda event: "text", lambda event: {**event, "id": "other"}])
def test_with_on_spool_error_log_a_hook_that_fails_is_a_loss(
    spool_path: Path, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    with client(unreachable(), spool_path, before_spool=hook, on_spool_error="log") as sdk:
        assert [sdk.create_message("s1", number, "user", SECRET) for number in (1, 2, 3)] == [None] * 3
        stats = sdk.stats()
        with pytest.raises(ValidationError):  # the caller's own errors are raised all the same
            sdk.create_message("s1", 0, "user", SECRET)
    assert (stats.lost, stats.filtered, stats.unsent) == (3, 0, 0)
    assert [record.message.partition(": ")[2].partition(" ")[0] for record in caplog.records] == ["before_spool"] * 2
    assert SECRET not in caplog.text


def test_the_log_says_what_a_hook_raised_and_where(spool_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with client(unreachable(), spool_path, before_spool=fails, on_spool_error="log") as sdk:
        sdk.create_message("s1", 1, "user", SECRET)
    assert re.search(r"before_spool raised HookError at test_before_spool\.py:\d+", caplog.text)


@pytest.mark.parametrize(
    "hook",
    [
        spoils,
        lambda event: {**event, "id": "other"},
        lambda event: {**event, "projectId": "other"},
        lambda event: {},
        lambda event: "text",
        lambda event: False,
        lambda event: event["properties"]["messageProperties"].update(messageContent="") or event,
        lambda event: event["properties"]["messageProperties"].update(messageContent="x" * 3000) or event,
    ],
)
def test_an_error_in_the_hooks_result_names_the_hook(spool_path: Path, hook: Hook) -> None:
    with client(unreachable(), spool_path, before_spool=hook, max_event_bytes=2048) as sdk:
        with pytest.raises(ValidationError, match="before_spool") as caught:
            sdk.create_message("s1", 1, "user", SECRET)
        assert sdk.stats().unsent == 0
    assert SECRET not in str(caught.value)
