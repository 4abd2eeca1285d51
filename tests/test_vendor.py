"""The vendor's calls and ours give the same events; `tests/vendor.py` has recorded the vendor's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from alignai import AlignAI
from tests.clients import client
from tests.vendor import RECORDED, comparable
from tests.vendor_calls import CALLS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.connect import ConnectServer


def test_the_table_has_every_event_method() -> None:
    ours = {name for name in vars(AlignAI) if not name.startswith("_")} - {"flush", "close", "stats"}
    assert {method for method, _ in CALLS} == ours


def test_our_events_are_the_vendors_field_for_field(connect_server: ConnectServer, tmp_path: Path) -> None:
    with client(connect_server.url, tmp_path / "spool.db") as sdk:
        for method, arguments in CALLS:
            getattr(sdk, method)(**arguments)
        assert sdk.flush()
    assert comparable(connect_server.events()) == json.loads(RECORDED.read_text(encoding="ascii"))
