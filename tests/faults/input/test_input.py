"""The short form of the scenario "input", and cases that its long form has found."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import Any

import pytest

from alignai import AlignAI, Config
from alignai.exception import ConfigError
from tests.faults.input.any_call import Hostile, OddStr
from tests.faults.input.scenario import call_often
from tests.faults.scenario import Run


def test_any_call_is_refused_or_arrives_as_it_was_given() -> None:
    run = Run("input", seed=1, seconds=0, most=1)
    for trial in run.trials():
        call_often(run, trial, 300)
    assert run.figures["calls"] > 100  # Hypothesis decides how many it makes
    assert min(run.figures[kind] for kind in ("recorded", "refused", "misspelt", "flushes", "configs")) > 5


@pytest.mark.parametrize("name", [field.name for field in fields(Config)])
def test_a_setting_that_raises_on_every_operation_is_a_config_error(name: str) -> None:
    options: dict[str, Any] = {name: Hostile()}
    with pytest.raises(ConfigError, match=name):
        Config(**options)


@pytest.mark.parametrize("name", ["project_id", "api_key", "api_host"])
def test_a_name_that_raises_on_every_operation_is_a_config_error(name: str) -> None:
    names: dict[str, Any] = {"project_id": "project", "api_key": "key", "api_host": "http://localhost"}
    with pytest.raises(ConfigError, match=name):
        AlignAI(**names | {name: Hostile()}, config=Config(disabled=True))


def test_a_str_subclass_counts_by_its_own_characters() -> None:
    with AlignAI(OddStr("project"), "key", OddStr("http://localhost/"), Config(disabled=True)) as sdk:
        assert (sdk.project_id, sdk.api_host) == ("project", "http://localhost")


def test_a_choice_that_is_an_enums_member_counts_by_its_value() -> None:
    class Sync(str, Enum):  # noqa: UP042 - its text is not that of a StrEnum
        FULL = "full"

    assert type(Config(synchronous=Sync.FULL).synchronous) is str  # type: ignore[arg-type]
