"""Settings: their limits and their sources."""

from __future__ import annotations

import dataclasses
import math
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignai._settings import Settings, resolve
from alignai._spool_path import default_spool_path, spool_path_from_environment
from alignai.config import Config
from alignai.exception import ConfigError
from tests.support.strategies import ANYTHING, UNHURRIED

KEY = "NIUaqth_TsuIQWox-key="
NAMES = [field.name for field in dataclasses.fields(Config)]


def refused(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Config(**settings)

    return str(caught.value)


def settled(
    project_id: Any = "p",
    api_key: Any = KEY,
    api_host: Any = None,
    config: Any = None,
    **environ: str,
) -> Settings:
    return resolve(project_id, api_key, api_host, config, environ)


def unsettled(*arguments: Any, **named: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        settled(*arguments, **named)

    return str(caught.value)


def test_the_defaults_are_those_of_the_design() -> None:
    assert dataclasses.asdict(Config()) == {
        "flush_interval_ms": 3000,
        "flush_batch_size": 50,
        "flush_timeout_seconds": 5,
        "max_buffer_size": 200,
        "api_max_retries": 3,
        "spool_path": None,
        "synchronous": "normal",
        "max_spool_bytes": 2**30,
        "on_full": "raise",
        "max_event_bytes": 10 * 2**20,
        "max_batch_bytes": 4 * 2**20,
        "sent_retention_seconds": 3600,
        "request_timeout_seconds": 10,
        "sender": True,
        "on_spool_error": "raise",
        "before_spool": None,
        "disabled": None,
    }


def test_the_vendors_five_settings_may_be_given_by_position() -> None:
    config = Config(1000, 10, 2, 300, 4)

    assert dataclasses.astuple(config)[:5] == (1000, 10, 2, 300, 4)


def test_the_other_settings_are_given_by_name_only() -> None:
    with pytest.raises(TypeError):
        Config(1000, 10, 2, 300, 4, "spool.db")  # type: ignore[call-arg]


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().flush_batch_size = 1  # type: ignore[misc]


def test_a_config_survives_pickling() -> None:
    config = Config(flush_batch_size=7, spool_path="x.db")

    assert pickle.loads(pickle.dumps(config)) == config


@UNHURRIED
@given(st.sampled_from(NAMES), ANYTHING)
def test_any_value_for_a_setting_is_accepted_or_refused_by_its_name(name: str, value: object) -> None:
    settings: dict[str, Any] = {name: value}
    try:
        Config(**settings)
    except ConfigError as error:
        text = str(error)
    else:
        text = name

    assert text.startswith(name)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("flush_interval_ms", 0.001, 30 * 86_400_000),
        ("flush_batch_size", 1, 100_000),
        ("flush_timeout_seconds", 0, 30 * 86_400),
        ("max_buffer_size", 0, 2**40),
        ("api_max_retries", 0, 2**40),
        ("max_spool_bytes", 2**20, 2**40),
        ("max_event_bytes", 2**10, 2**29),
        ("max_batch_bytes", 2**10, 2**29),
        ("sent_retention_seconds", 0, 100 * 366 * 86_400),
        ("request_timeout_seconds", 0.1, 600),
    ],
)
def test_a_number_has_a_least_and_a_most(name: str, least: float, most: float) -> None:
    settings: list[dict[str, Any]] = [{name: least}, {name: most}]

    assert [getattr(Config(**each), name) for each in settings] == [least, most]
    assert refused(**{name: math.nextafter(least, -math.inf) if least % 1 else least - 1}).startswith(name)
    assert refused(**{name: most + 1}).startswith(name)


@pytest.mark.parametrize("value", [True, "3", None, float("nan"), float("inf"), -float("inf"), 10**400])
@pytest.mark.parametrize("name", ["flush_interval_ms", "flush_batch_size", "flush_timeout_seconds", "max_spool_bytes"])
def test_a_value_that_is_no_number_is_refused(name: str, value: object) -> None:
    assert refused(**{name: value}).startswith(f"{name} must be a")


@pytest.mark.parametrize("name", ["flush_batch_size", "max_buffer_size", "api_max_retries", "max_event_bytes"])
def test_a_count_is_a_whole_number(name: str) -> None:
    assert refused(**{name: 2000.0}).startswith(f"{name} must be a whole number")


@pytest.mark.parametrize(
    "name", ["flush_interval_ms", "flush_timeout_seconds", "sent_retention_seconds", "request_timeout_seconds"]
)
def test_a_time_may_be_a_fraction(name: str) -> None:
    settings: dict[str, Any] = {name: 0.5}

    assert getattr(Config(**settings), name) == 0.5


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("synchronous", ["normal", "full"]),
        ("on_full", ["raise", "block", "drop_oldest"]),
        ("on_spool_error", ["raise", "log"]),
    ],
)
def test_a_choice_is_one_of_its_few(name: str, choices: list[str]) -> None:
    settings: list[dict[str, Any]] = [{name: choice} for choice in choices]

    assert [getattr(Config(**each), name) for each in settings] == choices
    assert refused(**{name: "off"}) == f"{name} must be one of: {', '.join(choices)}, not 'off'"
    assert refused(**{name: ["normal"]}).startswith(name)


@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_a_switch_is_true_or_false(value: object) -> None:
    assert refused(sender=value).startswith("sender must be True or False")


@pytest.mark.parametrize("path", ["", "a\0b", b"spool.db", 7])
def test_a_value_that_is_no_path_is_refused(path: object) -> None:
    assert refused(spool_path=path).startswith("spool_path must be a path")


def test_before_spool_must_be_callable() -> None:
    assert refused(before_spool="mask").startswith("before_spool must be a function")


def test_an_error_lists_every_bad_value() -> None:
    assert refused(flush_batch_size=0, on_full="wait") == (
        "flush_batch_size must be a whole number from 1 to 100000, not 0; "
        "on_full must be one of: raise, block, drop_oldest, not 'wait'"
    )


def test_arguments_win_over_the_environment() -> None:
    settings = settled(
        "p",
        "k",
        "http://a",
        Config(spool_path="/a.db", disabled=False),
        ALIGNAI_PROJECT_ID="other",
        ALIGNAI_API_KEY="other",
        ALIGNAI_HOST="http://other",
        ALIGNAI_SPOOL_PATH="/other.db",
        ALIGNAI_DISABLED="1",
    )

    assert settings == Settings(
        "p", "k", "http://a", Path("/a.db"), Config(spool_path="/a.db", disabled=False), disabled=False
    )


def test_the_environment_wins_over_defaults() -> None:
    settings = settled(
        None,
        None,
        ALIGNAI_PROJECT_ID="p",
        ALIGNAI_API_KEY="k",
        ALIGNAI_HOST="http://a",
        ALIGNAI_SPOOL_PATH="/a.db",
        ALIGNAI_DISABLED="1",
    )

    assert settled(None, ALIGNAI_PROJECT_ID="p", ALIGNAI_SPOOL_PATH="/a.db").spool_path == Path("/a.db")
    assert settings == Settings("p", "k", "http://a", Path(os.devnull), Config(), disabled=True)


def test_defaults_fill_in_missing_settings() -> None:
    assert settled() == Settings(
        "p", KEY, "https://api.impaction.ai", default_spool_path("p"), Config(), disabled=False
    )


def test_an_empty_variable_counts_as_missing() -> None:
    assert settled(ALIGNAI_HOST="", ALIGNAI_SPOOL_PATH="", ALIGNAI_DISABLED="") == settled()


def test_a_missing_project_id_or_key_names_both_ways_to_give_it() -> None:
    assert unsettled(None, "") == (
        "project_id is missing: pass project_id=... to AlignAI, or set ALIGNAI_PROJECT_ID in the environment; "
        "api_key is missing: pass api_key=... to AlignAI, or set ALIGNAI_API_KEY in the environment"
    )


def test_project_id_and_key_are_not_missed_where_the_sdk_is_disabled() -> None:
    settings = settled(None, None, config=Config(disabled=True))

    assert (settings.project_id, settings.api_key, settings.disabled) == ("", "", True)


@pytest.mark.parametrize("text", ["1", "true", "yes", "on", "TRUE", " On "])
def test_the_environment_can_disable(text: str) -> None:
    assert settled(ALIGNAI_DISABLED=text).disabled is True


@pytest.mark.parametrize("text", ["", "0", "false", "no", "off", "Off"])
def test_the_environment_can_leave_enabled(text: str) -> None:
    assert settled(ALIGNAI_DISABLED=text).disabled is False


def test_another_value_of_the_switch_is_refused() -> None:
    assert unsettled(ALIGNAI_DISABLED="maybe") == (
        "ALIGNAI_DISABLED must be one of 1, true, yes, on, 0, false, no, off, or empty, not 'maybe'"
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("https://api.impaction.ai", "https://api.impaction.ai"),
        ("https://api.impaction.ai/", "https://api.impaction.ai"),
        ("HTTP://Localhost:8080", "HTTP://Localhost:8080"),
        ("http://127.0.0.1:65535", "http://127.0.0.1:65535"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("http://align_api", "http://align_api"),
    ],
)
def test_an_address_of_a_server_is_accepted(host: str, expected: str) -> None:
    assert settled(api_host=host).api_host == expected


@pytest.mark.parametrize(
    "host",
    [
        "api.impaction.ai",
        "ftp://a",
        "http://",
        "http://a/path",
        "http://a?token=secret",
        "http://a#secret",
        "http://user:secret@a",
        "http://secret@a",
        "http://a:0",
        "http://a:65536",
        "http://a:secret",
        "http://a b",
        "http://a\n",
        "http://a\r\nX: secret",
        "http://a\\@b",
        "//a",
        KEY,
    ],
)
def test_another_address_is_refused_and_not_shown(host: str) -> None:
    text = unsettled(api_host=host)

    assert text.startswith("api_host must be")
    assert "secret" not in text
    assert KEY not in text


@pytest.mark.parametrize("key", ["secret key", "secret\n", "secret\r\nX: y", "sécret", "secret\0"])
def test_a_key_that_does_not_go_into_a_header_is_refused_and_not_shown(key: str) -> None:
    text = unsettled(api_key=key)

    assert text.startswith("api_key must be printable ASCII")
    assert "secret" not in text


@pytest.mark.parametrize("project_id", ["x" * 65, "\ud800"])
def test_a_project_id_beyond_its_limits_is_refused(project_id: str) -> None:
    assert unsettled(project_id).startswith("project_id ")


@pytest.mark.parametrize("name", ["project_id", "api_key", "api_host"])
def test_an_argument_that_is_no_text_is_refused(name: str) -> None:
    assert unsettled(**{name: 7}) == f"{name} must be a str, not int"


def test_a_config_of_another_kind_is_refused() -> None:
    assert unsettled(config={"flush_batch_size": 1}) == "config must be an alignai.config.Config, not dict"


def test_the_key_is_in_no_repr() -> None:
    assert KEY not in repr(settled())


def test_a_spool_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert settled(config=Config(spool_path="a.db")).spool_path == tmp_path / "a.db"
    assert settled(config=Config(spool_path=Path("~/a.db"))).spool_path == tmp_path / "home" / "a.db"


def test_an_unknown_users_home_is_a_clear_error() -> None:
    assert unsettled(config=Config(spool_path="~nobody-of-that-name/a.db")).startswith("spool_path '~nobody")


def test_a_project_has_its_file_in_the_users_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    assert default_spool_path("TEFSZ16").name == "TEFSZ16.db"


@UNHURRIED
@given(st.text(st.characters()))
def test_no_project_id_leads_out_of_the_folder(project_id: str) -> None:
    path = default_spool_path(project_id)

    assert path.parent == default_spool_path("p").parent
    assert path.name.isascii()
    assert len(path.name) <= 100
    assert path.resolve() == path.parent.resolve() / path.name


@UNHURRIED
@given(st.lists(st.text("aA./_-é \0", max_size=70), unique=True))
def test_two_projects_never_share_a_file(project_ids: list[str]) -> None:
    assert len({default_spool_path(project_id) for project_id in project_ids}) == len(project_ids)


def test_a_project_may_bear_the_name_of_anothers_file() -> None:
    other = default_spool_path("a/b").stem

    assert default_spool_path(other) != default_spool_path("a/b")


def test_the_environment_names_a_spool_by_path_or_by_project(tmp_path: Path) -> None:
    by_path = {"ALIGNAI_SPOOL_PATH": str(tmp_path / "a.db"), "ALIGNAI_PROJECT_ID": "p"}

    assert spool_path_from_environment(by_path) == str(tmp_path / "a.db")
    assert spool_path_from_environment({"ALIGNAI_PROJECT_ID": "p"}) == str(default_spool_path("p"))


def test_an_environment_that_names_no_spool_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="set ALIGNAI_SPOOL_PATH"):
        spool_path_from_environment({"ALIGNAI_SPOOL_PATH": ""})
