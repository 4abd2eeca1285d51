"""The client: the server decodes exactly the recorded arguments, and nothing else is recorded."""

from __future__ import annotations

import inspect
import logging
import pickle
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from connectrpc.code import Code

from alignai import AlignAI, ClosedError, Config, FlushResult, SpoolError, ValidationError
from tests.support.clients import PROJECT, client, record
from tests.support.servers.connect import refuse
from tests.support.uploads import KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer

NOWHERE = "http://127.0.0.1:1"

VENDOR = {
    "__init__": "(self, project_id=None, api_key=None, api_host=None, config=None)",
    "identify_user": (
        "(self, user_id, display_name=None, email=None, ip=None, country_code=None, create_time=None, "
        "custom_properties=None)"
    ),
    "open_session": "(self, session_id, user_id, assistant_id='DEFAULT', custom_properties=None)",
    "create_message": "(self, session_id, message_index, role, content, custom_properties=None)",
    "close_session": "(self, session_id)",
    "create_message_feedback": "(self, session_id, message_index, feedback_type)",
    "create_session_feedback": "(self, session_id, feedback_type)",
    "flush": "(self, timeout_seconds=None)",
    "close": "(self, timeout_seconds=None)",
}
"""The vendor's methods, with the names, the order and the defaults of their arguments."""

CALLS: dict[str, tuple[Any, ...]] = {
    "identify_user": ("u1",),
    "open_session": ("s1", "u1"),
    "create_message": ("s1", 1, "user", "Hey, you there?"),
    "close_session": ("s1",),
    "create_message_feedback": ("s1", 1, "thumbs_up"),
    "create_session_feedback": ("s1", "thumbs_down"),
}


def raw(spool_path: Path) -> bytes:
    """All bytes of a spool's files, read by another process: a descriptor closed in this one would end its locks."""
    return subprocess.check_output(["cat", *(path for path in spool_path.parent.iterdir())])


def pending(sdk: AlignAI) -> int:
    return sdk.stats().unsent


# -- the vendor's API --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", VENDOR)
def test_names_order_and_defaults_of_arguments_are_the_vendors(method: str) -> None:
    signature = inspect.signature(getattr(AlignAI, method))
    shared = [
        each.replace(annotation=each.empty) for each in signature.parameters.values() if each.kind != each.KEYWORD_ONLY
    ]
    assert str(inspect.Signature(shared)) == VENDOR[method]


@pytest.mark.parametrize("method", CALLS)
def test_each_method_returns_the_id_that_the_server_decodes(
    connect_server: ConnectServer, spool_path: Path, method: str
) -> None:
    with client(connect_server.url, spool_path) as sdk:
        event_id = getattr(sdk, method)(*CALLS[method])
        assert sdk.flush()
    assert re.fullmatch("[0-9a-f]{32}", event_id)
    assert connect_server.ids() == [event_id]
    assert connect_server.events()[0]["projectId"] == PROJECT


@pytest.mark.parametrize("method", CALLS)
def test_an_event_id_of_the_callers_own_is_kept(connect_server: ConnectServer, spool_path: Path, method: str) -> None:
    with client(connect_server.url, spool_path) as sdk:
        assert getattr(sdk, method)(*CALLS[method], event_id="job-7_step-1") == "job-7_step-1"
    assert connect_server.ids() == ["job-7_step-1"]


def test_the_key_goes_into_the_authorization_header(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path) as sdk:
        record(sdk, 1)
    assert connect_server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_the_environment_gives_missing_arguments(
    connect_server: ConnectServer, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PROJECT_ID": PROJECT, "API_KEY": KEY, "HOST": connect_server.url}.items():
        monkeypatch.setenv(f"ALIGNAI_{name}", value)
    monkeypatch.setenv("ALIGNAI_SPOOL_PATH", str(spool_path))
    with AlignAI() as sdk:
        ids = record(sdk, 1)
    assert connect_server.ids() == ids
    assert spool_path.exists()


# -- invalid arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, 7.5, b"x", ["x"], {"x": "y"}, object(), True])
@pytest.mark.parametrize("method", CALLS)
def test_a_wrong_type_is_an_error_that_names_the_argument(spool_path: Path, method: str, wrong: object) -> None:
    names = list(inspect.signature(getattr(AlignAI, method)).parameters)[1:]
    with client(NOWHERE, spool_path) as sdk:
        for position, name in enumerate(names[: len(CALLS[method])]):
            arguments = [*CALLS[method][:position], wrong, *CALLS[method][position + 1 :]]
            with pytest.raises(ValidationError, match=name) as caught:
                getattr(sdk, method)(*arguments)
            assert list(caught.value.errors) == [name]
        assert pending(sdk) == 0


def test_every_invalid_argument_is_listed_at_once(spool_path: Path) -> None:
    with client(NOWHERE, spool_path) as sdk:
        with pytest.raises(ValidationError) as caught:
            sdk.create_message("", 0, "robot", "", {"1": "x"}, event_id="ü")
        assert set(caught.value.errors) == {
            "session_id",
            "message_index",
            "role",
            "content",
            "custom_properties",
            "event_id",
        }
        assert pending(sdk) == 0


def test_an_event_that_is_too_large_is_refused_and_not_spooled(spool_path: Path) -> None:
    with client(NOWHERE, spool_path, max_event_bytes=2048, sender=False) as sdk:
        assert sdk.create_message("s1", 1, "user", "é" * 800)
        with pytest.raises(ValidationError, match=r"max_event_bytes \(2048\)"):
            sdk.create_message("s1", 2, "user", "é" * 1024)
        assert pending(sdk) == 1


@pytest.mark.parametrize("wrong", ["5", -1, float("nan"), True, [5]])
def test_a_timeout_must_be_a_number_of_at_least_0(spool_path: Path, wrong: Any) -> None:
    with client(NOWHERE, spool_path) as sdk:
        for method in (sdk.flush, sdk.close):
            with pytest.raises(ValidationError, match="timeout_seconds"):
                method(wrong)
        assert sdk.close_session("s1")  # it is not closed
        sdk.close(0)


@pytest.mark.parametrize("forever", [float("inf"), 10**400])
def test_a_timeout_may_be_endless(connect_server: ConnectServer, spool_path: Path, forever: float) -> None:
    sdk = client(connect_server.url, spool_path)
    ids = record(sdk, 1)
    assert sdk.flush(forever)
    sdk.close(forever)
    assert connect_server.ids() == ids


# -- Config ------------------------------------------------------------------------------------------------------------


def masked(event: dict[str, Any]) -> dict[str, Any]:
    event["properties"]["messageProperties"]["messageContent"] = "***"
    return event


def test_values_masked_by_before_spool_reach_no_disk_and_no_network(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    with client(connect_server.url, spool_path, before_spool=masked) as sdk:
        event_id = sdk.create_message("s1", 1, "user", "my number is 555-0100")
        assert sdk.flush()
        assert b"555-0100" not in raw(spool_path)
    assert connect_server.ids() == [event_id]
    assert connect_server.events()[0]["properties"]["messageProperties"]["messageContent"] == "***"


def test_events_that_before_spool_drops_are_not_recorded(spool_path: Path) -> None:
    with client(NOWHERE, spool_path, before_spool=lambda event: None) as sdk:
        assert sdk.close_session("s1") is None
        assert pending(sdk) == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda event: {**event, "id": "other"},
        lambda event: {**event, "projectId": "other"},
        lambda event: {**event, "type": "nonsense"},
        lambda event: {**event, "properties": {}},
        lambda event: {},
        lambda event: "text",
        lambda event: event["properties"]["sessionProperties"].update(sessionId="x" * 65) or event,
    ],
)
def test_the_result_of_before_spool_is_checked(spool_path: Path, spoil: Callable[[dict[str, Any]], Any]) -> None:
    with client(NOWHERE, spool_path, before_spool=spoil) as sdk:
        with pytest.raises(ValidationError):
            sdk.close_session("s1")
        assert pending(sdk) == 0


def fill(sdk: AlignAI) -> None:
    for number in range(1, 1000):
        sdk.create_message("s1", number, "user", "x" * 10_000)


def test_a_full_spool_is_an_error_at_the_call(spool_path: Path) -> None:
    with client(NOWHERE, spool_path, sender=False, max_spool_bytes=2**20) as sdk, pytest.raises(SpoolError):
        fill(sdk)


def test_with_on_spool_error_log_a_loss_is_logged_and_counted(
    spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with client(NOWHERE, spool_path, sender=False, max_spool_bytes=2**20, on_spool_error="log") as sdk:
        fill(sdk)
        assert sdk.create_message("s1", 1000, "user", "x" * 10_000) is None
        stats = sdk.stats()
        assert stats.lost + stats.pending == 1000
        with pytest.raises(ValidationError):
            sdk.close_session("")
    logged = [each for each in caplog.records if each.levelname == "ERROR"]
    assert 0 < len(logged) < 20
    assert "event lost: " in logged[0].getMessage()


def test_without_a_sender_events_are_only_appended(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path, sender=False) as sdk:
        record(sdk, 60)
        assert sdk.flush(0) == FlushResult(remaining=60)
    assert connect_server.requests == []
    with client(connect_server.url, spool_path) as sdk:
        assert sdk.flush()
    assert len(connect_server.ids()) == 60


@pytest.mark.parametrize("by_environment", [True, False])
def test_disabled_checks_but_writes_and_sends_nothing(
    connect_server: ConnectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_environment: bool
) -> None:
    if by_environment:
        monkeypatch.setenv("ALIGNAI_DISABLED", "1")
    path = tmp_path / "folder" / "spool.db"
    with client(connect_server.url, path, disabled=None if by_environment else True) as sdk:
        for method, arguments in CALLS.items():
            assert re.fullmatch("[0-9a-f]{32}", getattr(sdk, method)(*arguments))
        with pytest.raises(ValidationError):
            sdk.close_session("")
        assert sdk.flush() == FlushResult()
        assert sdk.stats().pending == 0
    with pytest.raises(ClosedError):
        sdk.close_session("s1")
    assert connect_server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_disabled_needs_no_project_and_no_key(tmp_path: Path) -> None:
    with AlignAI(config=Config(disabled=True, spool_path=tmp_path / "spool.db")) as sdk:
        assert sdk.close_session("s1")


# -- the key -----------------------------------------------------------------------------------------------------------


def test_the_key_is_in_no_repr_no_pickle_and_no_log(
    connect_server: ConnectServer, spool_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    connect_server.respond = refuse(Code.UNAUTHENTICATED, f"not a key: Bearer {KEY}")
    with client(connect_server.url, spool_path, flush_timeout_seconds=0.2) as sdk:
        record(sdk, 1)
        assert not sdk.flush(1)
        assert sdk._share
        inside = [repr(vars(each)) for each in (sdk, sdk._share, sdk._share.sender)]
        shown = [repr(sdk), str(sdk), repr(sdk.stats()), repr(sdk.config), *inside]
        with pytest.raises(TypeError):
            pickle.dumps(sdk)
    assert "not a key" in caplog.text
    shown += [repr(vars(each)) + each.getMessage() for each in caplog.records]
    assert [text for text in shown if KEY in text] == []


def test_the_spools_files_never_contain_the_key(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = refuse(Code.PERMISSION_DENIED, f"not a key: {KEY}")
    with client(connect_server.url, spool_path, flush_timeout_seconds=0.2) as sdk:
        record(sdk, 3)
        assert not sdk.flush(1)
        connect_server.respond = refuse(Code.INVALID_ARGUMENT, f"not a key: {KEY}")
        assert sdk.flush(20)
        written = raw(spool_path)
    written += raw(spool_path)
    assert b"not a key" in written
    assert KEY.encode() not in written
