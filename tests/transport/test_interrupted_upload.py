"""An upload that is interrupted at any line leaves no lock behind that a later upload waits for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import alignai
from alignai._transport.api_client import Action, APIClient
from tests.support.interrupts import Interrupter, TimeLimitError
from tests.support.uploads import KEY, ONE, upload

if TYPE_CHECKING:
    from tests.support.servers.connect import ConnectServer

SDK = Path(alignai.__file__).parent
FILES = (
    str(SDK / "_exclusive.py"),
    *(str(SDK / "_transport" / f"{n}.py") for n in ("api_client", "cancel_scope", "resolver")),
)


# An interrupted call leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_interrupted_upload_leaves_no_lock(connect_server: ConnectServer) -> None:
    url = connect_server.url.replace("127.0.0.1", "localhost")  # a name, which is looked up
    for at in range(1, 10_000):
        with closing(APIClient(url, KEY)) as client:
            interrupter = Interrupter(at, inside=FILES)
            with ThreadPoolExecutor(1) as thread:  # of its own: a lock that it leaves stops all others
                thread.submit(_interrupt, client, interrupter).result()
            assert upload(client, ONE, seconds=20).action is Action.SENT, interrupter.where
        if not interrupter.where:
            return
    pytest.fail("the upload has no end")


def _interrupt(client: APIClient, interrupter: Interrupter) -> None:
    with suppress(TimeLimitError), interrupter:
        upload(client, ONE)
