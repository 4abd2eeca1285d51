"""A call that is interrupted at any line of the sender leaves no thread, no lock and no event behind."""

from __future__ import annotations

import gc
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import alignai
from alignai.spool import Lease
from tests.delivery.test_sender import threads
from tests.support.clients import client, record
from tests.support.interrupts import HandlerError, guarded_lines, interrupt
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from alignai import AlignAI
    from tests.support.servers.connect import ConnectServer

DELIVERY = ("sharing", "users", "sender", "flusher", "threads", "maintenance", "background")
FILES = ("client", "_event_methods", "_exclusive", "_recorder", *(f"_delivery/{each}" for each in DELIVERY))
SDK = str(Path(alignai.__file__).parent)
SENDER = tuple(str(Path(alignai.__file__).parent / f"{name}.py") for name in FILES)
EVERY = 6
"""Of so many lines one is interrupted, another in each run of the loop below."""


def interrupted(call: str, url: str, spool_path: Path, at: int) -> tuple[str, list[str], AlignAI | None]:
    """Interrupt a call and return the line, the recorded ids, and the client if there is one."""
    sdk, ids = None, []
    if call != "construct":
        sdk = client(url, spool_path)
        ids = record(sdk, 2)

    def act() -> None:
        nonlocal sdk
        if sdk is None:
            sdk = client(url, spool_path)
        else:
            {"event": lambda: record(sdk, 1), "flush": sdk.flush, "close": sdk.close}[call]()

    where = interrupt(act, at, inside=SENDER)
    return where, ids, sdk


@pytest.mark.parametrize("call", ["construct", "event", "flush", "close"])
def test_an_interrupted_call_leaves_nothing_behind(connect_server: ConnectServer, tmp_path: Path, call: str) -> None:
    for at in range(1, 10_000, 1 if call == "event" else EVERY):
        spool_path = tmp_path / f"{at}.db"
        where, ids, sdk = interrupted(call, connect_server.url, spool_path, at)
        if sdk and call in {"event", "flush"}:
            ids += record(sdk, 1)
            assert sdk.flush(), where
            sdk.close()
        del sdk
        gc.collect()
        wait_until(lambda: not threads())
        with client(connect_server.url, spool_path) as other:
            ids += record(other, 1)
            assert other.flush(), where
        wait_until(lambda: not threads())
        assert set(ids) <= set(connect_server.ids()), where
        if not where:
            return
    pytest.fail("the call has no end")


# -- errors that look like those of the network, the system or an argument ---------------------------------------------

CALLS: dict[str, Callable[[AlignAI], object]] = {
    "event": lambda sdk: sdk.identify_user("u1", email="a@example.com", create_time=datetime.now()),  # noqa: DTZ005
    "flush": lambda sdk: sdk.flush(20),
    "stats": lambda sdk: sdk.stats(),
    "close": lambda sdk: sdk.close(20),
}


# Between its creation and the line that keeps it, a socket can only be closed by the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("name", CALLS)
def test_the_exception_of_a_handler_comes_out_of_every_line(
    connect_server: ConnectServer, spool_path: Path, name: str
) -> None:
    """Without threads, since the calling one uploads then."""

    def prepared() -> AlignAI:
        sdk = client(connect_server.url, spool_path)
        record(sdk, name == "flush")
        return sdk

    call = CALLS[name]
    with prepared() as sdk:
        lines = guarded_lines(lambda: call(sdk), (SDK,))
    assert lines
    for at in lines:
        with prepared() as sdk:
            where = interrupt(lambda sdk=sdk: call(sdk), at, HandlerError, (SDK,))  # type: ignore[misc] # bound at once
            lease = Lease(spool_path)
            assert lease.acquire(), where
            lease.release()
    with prepared() as sdk:
        assert sdk.flush()
        assert sdk.stats().pending == 0
