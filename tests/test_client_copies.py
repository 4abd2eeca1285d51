"""A client that is copied, pickled or left to the interpreter's exit."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import client, finished, worker
from tests.support.uploads import KEY, unreachable

if TYPE_CHECKING:
    from pathlib import Path

    from alignai import AlignAI
    from tests.support.servers.connect import ConnectServer


def test_a_copy_of_a_client_is_the_client_itself(connect_server: ConnectServer, spool_path: Path) -> None:
    with client(connect_server.url, spool_path) as sdk:
        holder = {"sdk": sdk, "list": [sdk]}
        copies = [copy.copy(sdk), copy.deepcopy(sdk), copy.deepcopy(holder)["sdk"], copy.copy(holder)["sdk"]]
        assert all(each is sdk for each in copies)
        assert sdk.close_session("s1")
        assert sdk.flush()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_a_client_says_what_to_do_instead(spool_path: Path, protocol: int) -> None:
    with (
        client(unreachable(), spool_path, flush_timeout_seconds=0) as sdk,
        pytest.raises(TypeError, match="Make one in each process") as caught,
    ):
        pickle.dumps({"sdk": sdk}, protocol)
    assert KEY not in str(caught.value)


def never(sdk: AlignAI) -> None:
    raise AssertionError


def test_a_client_cannot_be_handed_to_a_spawned_process(spool_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=never)
    with client(unreachable(), spool_path, flush_timeout_seconds=0) as sdk:
        process._args = (sdk,)
        with pytest.raises(TypeError, match="Make one in each process"):
            process.start()


# -- nothing is left open ----------------------------------------------------------------------------------------------

NEVER_CLOSED = """
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_timeout_seconds=60))
sdk.close_session("s1")
"""

CLOSED = """
from alignai import AlignAI, Config

with AlignAI(config=Config(flush_timeout_seconds=60)) as sdk:
    sdk.close_session("s1")
    sdk.stats()
"""

FORGOTTEN = """
import gc
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_timeout_seconds=60))
sdk.close_session("s1")
del sdk
gc.collect()
"""

FORKED = """
import os, sys
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_timeout_seconds=60))
sdk.close_session("s1")
sdk.stats()
child = os.fork()
sdk.close_session("s2")
if child:
    assert os.waitpid(child, 0)[1] == 0
sys.exit()  # in the child, too: with its exit hooks
"""

THREADED = """
import threading
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_timeout_seconds=60))


def record():
    sdk.close_session("s1")
    sdk.stats()
    sdk.flush()


threads = [threading.Thread(target=record) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""

FAILED = """
import os
from alignai import AlignAI, AlignAIError, Config

open("file", "w").close()
try:
    AlignAI(config=Config(spool_path="file/spool.db"))
except AlignAIError:
    pass
"""

AT_EXIT = """
import atexit
from alignai import AlignAI


@atexit.register
def record():
    with AlignAI() as sdk:
        sdk.close_session("s1")
        assert sdk.flush(30)
        print("sent")
"""


def test_a_client_of_an_exit_hook_uploads(connect_server: ConnectServer, spool_path: Path) -> None:
    assert finished(AT_EXIT, connect_server.url, spool_path) == "sent\n"


LIVES = {
    "never closed": NEVER_CLOSED,
    "closed": CLOSED,
    "forgotten": FORGOTTEN,
    "forked": FORKED,
    "threaded": THREADED,
    "failed": FAILED,
}
STRICT = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error::ResourceWarning"}


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
@pytest.mark.parametrize("away", [False, True], ids=["server", "no server"])
def test_no_resource_is_left_to_the_garbage_collector(
    connect_server: ConnectServer, spool_path: Path, life: str, *, away: bool
) -> None:
    url = unreachable() if away else connect_server.url
    script = life.replace("flush_timeout_seconds=60", f"flush_timeout_seconds={0.2 if away else 60}")
    with worker(script, url, spool_path, stderr=subprocess.PIPE, env=STRICT, cwd=spool_path.parent) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "ResourceWarning" not in errors
