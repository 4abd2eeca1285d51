"""The tree of errors."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING

import pytest

import alignai
import alignai.spool
from alignai import AlignAI, SpoolError, SpoolFullError
from alignai.exception import AlignAIError, APIError, ClosedError, ConfigError, short_repr
from tests.support.clients import client
from tests.support.uploads import unreachable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVERY = [
    error
    for package in (alignai, alignai.spool)
    for error in vars(package).values()
    if isinstance(error, type) and issubclass(error, Exception)
]


@pytest.mark.parametrize(
    ("error", "bases"),
    [(ConfigError, (ValueError,)), (ClosedError, (RuntimeError,)), (APIError, ())],
)
def test_an_error_is_an_align_ai_error_and_of_pythons_kind(error: type[Exception], bases: tuple[type, ...]) -> None:
    assert all(issubclass(error, base) for base in (AlignAIError, *bases))


@pytest.mark.parametrize("error", [ConfigError("x"), ClosedError("x"), APIError(503, "busy")])
def test_an_error_survives_pickling(error: AlignAIError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), copy.args, str(copy)) == (type(error), error.args, str(error))


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.__name__)
def test_every_error_is_an_align_ai_error_and_survives_pickling(error: type[Exception]) -> None:
    made = error(503, "busy") if error is APIError else error("busy")
    copy = pickle.loads(pickle.dumps(made))

    assert isinstance(made, alignai.AlignAIError)
    assert (type(copy), copy.args, str(copy)) == (error, made.args, str(made))


def fill(sdk: AlignAI) -> None:
    for number in range(1, 1000):
        sdk.create_message("s1", number, "user", "x" * 10_000)


def test_an_error_of_the_spool_is_caught_by_each_of_its_names(spool_path: Path) -> None:
    for caught in (AlignAIError, SpoolError, SpoolFullError, alignai.spool.SpoolError, alignai.spool.AlignAIError):
        with client(unreachable(), spool_path, sender=False, max_spool_bytes=2**20) as sdk, pytest.raises(caught):
            fill(sdk)


def test_a_path_that_cannot_be_used_is_an_align_ai_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AlignAIError, match="ALIGNAI_SPOOL_PATH"):
        client(unreachable(), tmp_path / "file" / "spool.db")


CALLS: dict[str, Callable[[AlignAI], object]] = {
    "identify_user": lambda sdk: sdk.identify_user("u1"),
    "open_session": lambda sdk: sdk.open_session("s1", "u1"),
    "create_message": lambda sdk: sdk.create_message("s1", 1, "user", "Hi"),
    "close_session": lambda sdk: sdk.close_session("s1"),
    "create_session_feedback": lambda sdk: sdk.create_session_feedback("s1", "thumbs_up"),
    "create_message_feedback": lambda sdk: sdk.create_message_feedback("s1", 1, "thumbs_up"),
    "flush": lambda sdk: sdk.flush(),
    "stats": lambda sdk: sdk.stats(),
}
every_call = pytest.mark.parametrize("method", CALLS)


def closed_error(method: str, sdk: AlignAI) -> ClosedError:
    with pytest.raises(ClosedError, match=f"^{method}: ") as caught:
        CALLS[method](sdk)
    return caught.value


@every_call
@pytest.mark.parametrize(
    "settings", [{}, {"disabled": True}, {"on_spool_error": "log"}, {"synchronous": "full"}], ids=str
)
def test_after_close_every_call_says_that_it_is_closed(
    spool_path: Path, settings: dict[str, object], method: str
) -> None:
    sdk = client(unreachable(), spool_path, **settings)
    sdk.close(0)

    assert type(closed_error(method, sdk)) is ClosedError


@every_call
@pytest.mark.parametrize("on_spool_error", ["raise", "log"])
def test_a_call_that_meets_a_spool_closed_meanwhile_says_the_same(
    spool_path: Path, on_spool_error: str, method: str
) -> None:
    sdk = client(unreachable(), spool_path, on_spool_error=on_spool_error)
    sdk._spool.close()

    assert isinstance(closed_error(method, sdk).__cause__, SpoolError)
    sdk.close(0)


def test_calls_that_race_with_close_meet_no_other_error(spool_path: Path) -> None:
    sdk = client(unreachable(), spool_path, synchronous="full")
    errors: list[Exception] = []
    began = threading.Barrier(len(CALLS) + 1)

    def call(method: str) -> None:
        began.wait(60)
        try:
            while True:
                CALLS[method](sdk)
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            errors.append(error)

    threads = [threading.Thread(target=call, args=[method]) for method in CALLS]
    for thread in threads:
        thread.start()
    began.wait(60)
    sdk.close(0.1)
    for thread in threads:
        thread.join(60)
    assert [type(error) for error in errors] == [ClosedError] * len(CALLS)


def test_an_api_error_has_status_and_message() -> None:
    error = APIError(503, "busy")

    assert (error.status_code, error.err_msg, str(error)) == (503, "busy", "HTTP 503: busy")


def test_an_api_error_without_an_answer_shows_no_status() -> None:
    assert str(APIError(0, "connection refused")) == "connection refused"


def test_a_value_is_shown_in_at_most_40_characters() -> None:
    assert short_repr("é\n") == r"'é\n'"
    assert short_repr("x" * 100) == "'" + "x" * 36 + "..."


def test_a_value_that_cannot_be_printed_is_shown_by_its_type() -> None:
    assert short_repr(10**5000) == "<int>"
