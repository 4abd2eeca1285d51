"""Machines without a place for a spool, optional settings, and numbers that are no ints or floats."""

from __future__ import annotations

import os
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from alignai import AlignAI, Config, ConfigError, SpoolError, ValidationError
from alignai._spool_path import default_spool_path
from alignai.cli import main
from alignai.cli.output import EXIT_USAGE
from tests.support.clients import PROJECT, client
from tests.support.strategies import Index
from tests.support.uploads import KEY, unreachable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer

BOTH_WAYS = "spool_path.*ALIGNAI_SPOOL_PATH"


def no_user_has_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def getpwuid(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", getpwuid)


def the_root_folder_is_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")


HOMELESS = pytest.mark.parametrize("make_homeless", [no_user_has_a_home, the_root_folder_is_home])
Homeless = "Callable[[pytest.MonkeyPatch], None]"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ALIGNAI_")] + ["XDG_STATE_HOME"]:
        monkeypatch.delenv(name, raising=False)


# -- no home folder ----------------------------------------------------------------------------------------------------


@HOMELESS
def test_without_a_home_the_error_names_both_ways_to_name_a_path(
    monkeypatch: pytest.MonkeyPatch, make_homeless: Homeless
) -> None:
    make_homeless(monkeypatch)

    with pytest.raises(ConfigError, match=BOTH_WAYS):
        AlignAI(PROJECT, KEY)


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nobody"])
def test_a_home_that_cannot_be_written_is_an_error_that_names_them(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)

    with pytest.raises(SpoolError, match=BOTH_WAYS):
        AlignAI(PROJECT, KEY)


@HOMELESS
def test_without_a_home_a_path_that_is_named_is_enough(
    monkeypatch: pytest.MonkeyPatch, make_homeless: Homeless, tmp_path: Path
) -> None:
    make_homeless(monkeypatch)
    client(unreachable(), tmp_path / "a.db").close(0)
    monkeypatch.setenv("ALIGNAI_SPOOL_PATH", str(tmp_path / "b.db"))
    AlignAI(PROJECT, KEY).close(0)
    monkeypatch.delenv("ALIGNAI_SPOOL_PATH")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    assert default_spool_path(PROJECT) == tmp_path / "alignai" / f"{PROJECT}.db"
    assert (tmp_path / "a.db").exists()
    assert (tmp_path / "b.db").exists()


@pytest.mark.parametrize("by_environment", [True, False])
def test_disabled_looks_no_path_up(monkeypatch: pytest.MonkeyPatch, *, by_environment: bool) -> None:
    no_user_has_a_home(monkeypatch)
    monkeypatch.setenv("ALIGNAI_SPOOL_PATH", "~/spool.db")
    monkeypatch.setattr("platformdirs.user_state_path", None)
    if by_environment:
        monkeypatch.setenv("ALIGNAI_DISABLED", "1")

    with AlignAI(PROJECT, KEY, config=Config(disabled=None if by_environment else True)) as sdk:
        assert sdk.close_session("s1")
        assert sdk.flush()
        assert sdk.stats().path == os.devnull


@HOMELESS
@pytest.mark.parametrize("command", ["inspect", "requeue"])
def test_without_a_home_the_command_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, make_homeless: Homeless, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_homeless(monkeypatch)
    monkeypatch.setenv("ALIGNAI_PROJECT_ID", PROJECT)

    assert main([command]) == EXIT_USAGE
    assert "ALIGNAI_SPOOL_PATH" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["inspect", "spool.db"], ["inspect", "~/spool.db"], ["inspect"]])
def test_a_path_that_cannot_be_made_absolute_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    no_user_has_a_home(monkeypatch)
    monkeypatch.setenv("ALIGNAI_SPOOL_PATH", "spool.db")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert main(arguments) == EXIT_USAGE
    assert "cannot be made absolute" in capsys.readouterr().err


# -- optional settings -------------------------------------------------------------------------------------------------


def test_empty_arguments_count_as_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"PROJECT_ID": PROJECT, "API_KEY": KEY, "HOST": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(f"ALIGNAI_{name}", value)
    with AlignAI("", "", "", Config(spool_path=tmp_path / "spool.db", flush_timeout_seconds=0)) as sdk:
        assert (sdk.project_id, sdk.api_host) == (PROJECT, "http://127.0.0.1:1")
    monkeypatch.delenv("ALIGNAI_HOST")
    with AlignAI("", "", "", Config(spool_path=tmp_path / "spool.db", flush_timeout_seconds=0)) as sdk:
        assert sdk.api_host == "https://api.impaction.ai"


def test_a_setting_that_is_empty_everywhere_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNAI_API_KEY", "")

    with pytest.raises(ConfigError, match=r"project_id is missing.*api_key is missing"):
        AlignAI("", "", "")


@pytest.mark.parametrize("value", [0, False, b"", []])
def test_an_empty_value_that_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="project_id must be a str"):
        AlignAI(value, KEY)


def test_a_client_that_only_records_needs_no_key(connect_server: ConnectServer, spool_path: Path) -> None:
    recorder = AlignAI(PROJECT, api_host=connect_server.url, config=Config(spool_path=spool_path, sender=False))
    event_id = recorder.close_session("s1")
    assert recorder.flush(0).remaining == 1
    recorder.close()
    assert connect_server.requests == []
    with client(connect_server.url, spool_path) as sdk:
        assert sdk.flush()
    assert connect_server.ids() == [event_id]


# -- numbers -----------------------------------------------------------------------------------------------------------


class Choice(str, Enum):  # noqa: UP042 - the older way to write a StrEnum, with another str()
    FULL = "full"


def test_settings_are_plain_however_they_are_given() -> None:
    config = Config(
        flush_interval_ms=Fraction(1, 2),  # type: ignore[arg-type]
        flush_batch_size=Index(7),  # type: ignore[arg-type]
        flush_timeout_seconds=Decimal("2.5"),  # type: ignore[arg-type]
        synchronous=Choice.FULL,  # type: ignore[arg-type]
    )
    taken = config.flush_interval_ms, config.flush_batch_size, config.flush_timeout_seconds, config.synchronous

    assert taken == (0.5, 7, 2.5, "full")
    assert [type(each) for each in taken] == [float, int, float, str]


@pytest.mark.parametrize("value", [True, "7", 7.0, Decimal(7), Index("7"), Index(0)])
def test_a_value_that_is_no_whole_number_in_its_limits_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="flush_batch_size must be a whole number"):
        Config(flush_batch_size=value)


@pytest.mark.parametrize("timeout", [Decimal("0.01"), Fraction(1, 100), 0])
def test_a_timeout_may_be_any_real_number(spool_path: Path, timeout: Any) -> None:
    with client(unreachable(), spool_path) as sdk:
        sdk.close_session("s1")
        assert sdk.flush(timeout).remaining == 1
        sdk.close(timeout)


@pytest.mark.parametrize("timeout", [1j, Decimal("NaN"), Decimal("sNaN"), Decimal(-1)])
def test_another_timeout_is_refused(spool_path: Path, timeout: Any) -> None:
    sdk = client(unreachable(), spool_path, flush_timeout_seconds=0)
    with sdk, pytest.raises(ValidationError, match="timeout_seconds"):
        sdk.flush(timeout)
