"""The tree of errors."""

from __future__ import annotations

import pickle

import pytest

from alignai.exception import AlignAIError, APIError, ClosedError, ConfigError, shown


@pytest.mark.parametrize(
    ("error", "bases"),
    [(ConfigError, (ValueError,)), (ClosedError, (RuntimeError,)), (APIError, ())],
)
def test_an_error_is_one_of_ours_and_of_pythons_kind(error: type[Exception], bases: tuple[type, ...]) -> None:
    assert all(issubclass(error, base) for base in (AlignAIError, *bases))


@pytest.mark.parametrize("error", [ConfigError("x"), ClosedError("x"), APIError(503, "busy")])
def test_an_error_survives_pickling(error: AlignAIError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), copy.args, str(copy)) == (type(error), error.args, str(error))


def test_an_api_error_has_status_and_message() -> None:
    error = APIError(503, "busy")

    assert (error.status_code, error.err_msg, str(error)) == (503, "busy", "HTTP 503: busy")


def test_an_api_error_without_an_answer_shows_no_status() -> None:
    assert str(APIError(0, "connection refused")) == "connection refused"


def test_a_value_is_shown_in_at_most_40_characters() -> None:
    assert shown("é\n") == r"'é\n'"
    assert shown("x" * 100) == "'" + "x" * 36 + "..."


def test_a_value_that_cannot_be_printed_is_shown_by_its_type() -> None:
    assert shown(10**5000) == "<int>"
