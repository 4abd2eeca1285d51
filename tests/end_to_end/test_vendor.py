"""The same calls give the same events in both SDKs. `tests/support/vendor.py` has recorded the vendor's."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import alignai
from alignai import AlignAI
from alignai.logger import get_logger
from alignai.validate import (
    ValidationError,
    validate_custom_properties_or_raise,
    validate_session_id_or_raise,
    validate_user_id_or_raise,
)
from tests.support.clients import ROOT, client
from tests.support.vendor import RECORDED, comparable
from tests.support.vendor_calls import CALLS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer


def test_the_table_has_every_event_method() -> None:
    ours = {name for name in dir(AlignAI) if not name.startswith("_")} - {"flush", "close", "stats"}
    assert {method for method, _ in CALLS} == ours


def test_our_events_are_the_vendors_field_for_field(connect_server: ConnectServer, tmp_path: Path) -> None:
    with client(connect_server.url, tmp_path / "spool.db") as sdk:
        for method, arguments in CALLS:
            getattr(sdk, method)(**arguments)
        assert sdk.flush()
    assert comparable(connect_server.events()) == json.loads(RECORDED.read_text(encoding="ascii"))


NAMES = {
    "alignai": ["AlignAI", "APIClient", "api_client", "logger", "utils"],
    "alignai.api_client": ["APIClient"],
    "alignai.client": ["AlignAI"],
    "alignai.config": ["Config"],
    "alignai.constants": [
        "API_MAX_RETIRES",
        "DEFAULT_ASSISTANT_ID",
        "EventTypes",
        "FEEDBACK_THUMBS_DOWN",
        "FEEDBACK_THUMBS_UP",
        "FLUSH_BATCH_SIZE",
        "FLUSH_INTERVAL_MS",
        "FLUSH_TIMEOUT_SECONDS",
        "MAX_BUFFER_SIZE",
        "ROLE_ASSISTANT",
        "ROLE_USER",
        "SERVER_BASE_URL",
    ],
    "alignai.exception": ["APIError"],
    "alignai.logger": ["get_logger"],
    "alignai.utils": ["CustomProperties"],
    "alignai.validate": [
        "ValidationError",
        "validate_custom_properties_or_raise",
        "validate_session_id_or_raise",
        "validate_user_id_or_raise",
    ],
}
"""The vendor's public names that are here, by module."""

ELSEWHERE = [
    "alignai.buffer_storage",
    "alignai.logger.LimitedTracebackFormatter",
    "alignai.proto",
    "alignai.utils.datetime_to_timestamp",
    "alignai.utils.serialize_custom_properties",
    "alignai.worker",
]
"""Those that are not, since there is nothing like them here. README lists them."""


@pytest.mark.parametrize("module", NAMES)
def test_the_vendors_names_can_be_imported(module: str) -> None:
    names = NAMES[module]
    script = (
        f"from {module} import {', '.join(names)}; import {module}; {', '.join(f'{module}.{name}' for name in names)}"
    )

    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("missing", ELSEWHERE)
def test_readme_says_which_of_the_vendors_names_are_not_here(missing: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert f"`{missing}`" in readme
    with pytest.raises(ImportError):
        exec(f"from {missing.rpartition('.')[0]} import {missing.rpartition('.')[2]}")


def test_a_name_that_does_not_exist_is_missing() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        alignai.nonsense  # noqa: B018


def test_the_vendors_checks_check() -> None:
    validate_session_id_or_raise("s1")
    validate_user_id_or_raise("u1")
    validate_custom_properties_or_raise({"plan": "free"})
    with pytest.raises(ValidationError, match=r"^session_id must have 1 to 64 characters$"):
        validate_session_id_or_raise("")
    with pytest.raises(ValidationError, match=r"^user_id must have 1 to 64 characters$"):
        validate_user_id_or_raise("u" * 65)
    with pytest.raises(ValidationError, match=r"^custom_properties key '1' must be"):
        validate_custom_properties_or_raise({"1": "x"})


def test_the_vendors_logger_is_the_sdks() -> None:
    logger = logging.getLogger("alignai")
    before = logger.level
    try:
        assert get_logger("INFO") is logger
        assert logger.level == logging.INFO
        assert get_logger("WARNING").handlers == logger.handlers
    finally:
        logger.setLevel(before)
