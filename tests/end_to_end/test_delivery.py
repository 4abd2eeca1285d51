"""The complete path, with real worker processes and a real server: no acknowledged event is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from tests.support.clients import ROOT, client, inspect, record, repeated_under_another_id, worker
from tests.support.servers.raw import silence, trickle
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.support.servers.connect import ConnectServer, Request
    from tests.support.servers.raw import RawServer, Script

EXAMPLE = Path(__file__).parents[1] / "data" / "vendor_example.py"
MARGIN = 1.0
"""Seconds beyond a deadline that a loaded machine may take. The promise is a tenth of it."""


def delivered(server: ConnectServer) -> list[str]:
    """The ids that a server has which knows a repeat by its request id, in order of arrival."""
    requests = {request.request_id: request for request in server.requests if request.taken}
    return [event_id for request in requests.values() for event_id in request.ids]


def whole_ids(lines: Iterable[str]) -> list[str]:
    """The ids that were printed to the end: the last line of a killed process may not be."""
    return [line.strip() for line in lines if len(line) == len("0" * 32 + "\n")]


# -- an outage ---------------------------------------------------------------------------------------------------------

STEADY = """
import time
from alignai import AlignAI, Config

with AlignAI(config=Config(flush_interval_ms=100, flush_timeout_seconds=60)) as sdk:
    start = time.monotonic()
    for number in range(1, 601):
        time.sleep(max(0, start + number / 100 - time.monotonic()))
        print(sdk.create_message("s1", number, "user", f"message {number}"), flush=True)
"""


def test_600_events_arrive_once_after_an_outage_of_3_seconds(connect_server: ConnectServer, spool_path: Path) -> None:
    acknowledged = []
    with worker(STEADY, connect_server.url, spool_path) as process:
        assert process.stdout
        for line in process.stdout:
            acknowledged.append(line.strip())
            if len(acknowledged) == 150:
                connect_server.stop()
            elif len(acknowledged) == 450:
                connect_server.start()
    assert process.returncode == 0
    assert len(acknowledged) == 600
    assert delivered(connect_server) == acknowledged


# -- sudden deaths -----------------------------------------------------------------------------------------------------

ENDLESS = """
import itertools, time
from alignai import AlignAI, Config

sdk = AlignAI(config=Config(flush_interval_ms=5, flush_batch_size=20))
for number in itertools.count(1):
    time.sleep(0.001)
    print(sdk.create_message("s1", number, "user", f"message {number}"), flush=True)
"""


class Failing:
    """A server that fails at random: before it takes the events, or after."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def __call__(self, request: Request) -> None:
        kind = self._chance.choice(["well", "well", "unavailable", "taken, then unavailable"])
        request.taken = kind != "unavailable"
        if kind != "well":
            raise ConnectError(Code.UNAVAILABLE, kind)


def run_and_kill(server: ConnectServer, spool_path: Path, chance: random.Random) -> list[str]:
    """The ids that one worker acknowledged before it was killed, at a random moment."""
    requests = len(server.requests) + chance.randint(0, 4)
    with worker(ENDLESS, server.url, spool_path) as process:
        assert process.stdout
        acknowledged = [process.stdout.readline() for _ in range(chance.randint(1, 300))]
        draining = threading.Thread(target=acknowledged.extend, args=(process.stdout,))
        draining.start()
        try:
            wait_until(lambda: len(server.requests) > requests)
            if chance.random() < 0.5:
                server.restart()  # which resets every connection
        finally:
            process.kill()
            draining.join()
    return whole_ids(acknowledged)


def test_twelve_kills_of_a_worker_lose_nothing(connect_server: ConnectServer, spool_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed: {seed}")  # noqa: T201 - shown if the test fails
    chance = random.Random(seed)
    connect_server.respond = Failing(random.Random(seed))
    workers = [run_and_kill(connect_server, spool_path, chance) for _ in range(12)]
    connect_server.respond = None
    with client(connect_server.url, spool_path) as sdk:
        assert sdk.flush(60)
        assert sdk.stats().rejected == 0
    received = delivered(connect_server)
    acknowledged = [event_id for each in workers for event_id in each]
    known = set(acknowledged)
    assert [event_id for event_id in received if event_id in known] == acknowledged
    assert repeated_under_another_id(connect_server) == []


# -- deadlines ---------------------------------------------------------------------------------------------------------

TRICKLE = trickle([b"x"] * 10_000, start=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Long: ")
RELUCTANT = pytest.mark.parametrize("script", [silence, TRICKLE], ids=["silent", "trickling"])


@RELUCTANT
@pytest.mark.parametrize(("method", "seconds"), [("flush", 1.0), ("close", 2.0)])
def test_deadlines_hold_and_the_events_arrive_after_a_restart(
    raw_server: Callable[..., RawServer],
    connect_server: ConnectServer,
    spool_path: Path,
    script: Script,
    method: str,
    seconds: float,
) -> None:
    reluctant = raw_server(script)
    sdk = client(reluctant.url, spool_path, flush_timeout_seconds=0)
    ids = record(sdk, 3)
    wait_until(lambda: reluctant.requests)
    start = time.monotonic()
    result = getattr(sdk, method)(seconds)
    assert seconds - 0.1 <= time.monotonic() - start < seconds + MARGIN
    assert not result
    sdk.close()
    with client(connect_server.url, spool_path) as sdk:
        assert sdk.flush()
    assert connect_server.ids() == ids


# -- several processes -------------------------------------------------------------------------------------------------

ONE_OF_FOUR = """
import sys, time
from alignai import AlignAI, Config

with AlignAI(config=Config(flush_interval_ms=20, flush_batch_size=10, flush_timeout_seconds=30)) as sdk:
    for number in range(1, 301):
        print(sdk.create_message(sys.argv[1], number, "user", f"message {number}"), flush=True)
        time.sleep(0.005)
"""


class Overlaps:
    """Notes the uploaders by their keys, and uploads that overlap."""

    def __init__(self) -> None:
        self.found: set[frozenset[str]] = set()
        self.uploaders: list[str] = []
        self._active: set[str] = set()

    def __call__(self, request: Request) -> None:
        who = request.headers["authorization"].removeprefix("Bearer ")
        self.uploaders.append(who)
        self.found |= {frozenset({who, other}) for other in self._active - {who}}
        self._active.add(who)
        time.sleep(0.005)  # the time of an upload, so that two of them would overlap
        self._active.discard(who)


def test_four_processes_lose_nothing_if_the_uploader_is_killed(connect_server: ConnectServer, spool_path: Path) -> None:
    overlaps = connect_server.respond = Overlaps()
    keys = ["key0", "key1", "key2", "key3"]
    processes = [worker(ONE_OF_FOUR, connect_server.url, spool_path, key, env={"ALIGNAI_API_KEY": key}) for key in keys]
    pids = [process.pid for process in processes]
    with client(connect_server.url, spool_path, sender=False) as watcher:
        wait_until(lambda: watcher.stats().sent)
        lease = wait_until(lambda: watcher.stats().lease)
        killed = pids.index(lease.pid)
        processes[killed].kill()
        acknowledged = []
        for process in processes:
            with process:
                assert process.stdout
                acknowledged.append(whole_ids(process.stdout))
    with client(connect_server.url, spool_path) as last:
        assert last.flush()
    assert [process.returncode for process in processes] == [-9 if n == killed else 0 for n in range(4)]
    assert [len(each) for n, each in enumerate(acknowledged) if n != killed] == [300] * 3
    received = delivered(connect_server)
    for each in acknowledged:
        known = set(each)
        assert [event_id for event_id in received if event_id in known] == each
    assert len(received) == len(set(received))
    assert len(set(overlaps.uploaders)) > 1
    assert [pair for pair in overlaps.found if keys[killed] not in pair] == []


# -- the vendor's example ----------------------------------------------------------------------------------------------

OPENAI = """
# The example takes these two for imported.
import builtins, os, types, uuid
builtins.os, builtins.uuid = os, uuid

class ChatCompletion:
    @staticmethod
    def create(model, messages):
        message = {"content": " You said: " + messages[-1]["content"] + " "}
        return types.SimpleNamespace(choices=[types.SimpleNamespace(message=message)])
"""


def run_example(folder: Path, environment: dict[str, str], said: str) -> subprocess.CompletedProcess[str]:
    (folder / "openai.py").write_text(OPENAI, encoding="utf-8")
    path = {"PYTHONPATH": f"{folder}:{ROOT}"}
    command = [sys.executable, str(EXAMPLE)]
    return subprocess.run(
        command, input=said, env={**environment, **path}, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_vendors_example_runs_unchanged(connect_server: ConnectServer, spool_path: Path, tmp_path: Path) -> None:
    environment = {"ALIGNAI_HOST": connect_server.url, "ALIGNAI_SPOOL_PATH": str(spool_path), "NO_PROXY": "127.0.0.1"}
    done = run_example(tmp_path, environment, "Hi!\nBye, now.\n")
    assert "EOFError" in done.stderr  # the example knows no other end
    assert "Assistant: You said: Bye, now." in done.stdout
    user, session, *messages, end = [event["properties"] for event in connect_server.events()]
    assert user["userProperties"]["userEmail"] == "sample-user@gmail.com"
    session_id = session["sessionProperties"]["sessionId"]
    assert [said(message) for message in messages] == [
        (session_id, 1, "ROLE_ASSISTANT", "Hello, what can I do for u?"),
        (session_id, 2, "ROLE_USER", "Hi!"),
        (session_id, 3, "ROLE_ASSISTANT", "You said: Hi!"),
        (session_id, 4, "ROLE_USER", "Bye, now."),
        (session_id, 5, "ROLE_ASSISTANT", "You said: Bye, now."),
    ]
    assert end == {"sessionProperties": {"sessionId": session_id}}
    assert inspect(spool_path)["sent"] == 8


def said(properties: dict[str, Any]) -> tuple[str, int, str, str]:
    message = properties["messageProperties"]
    return message["sessionId"], message["messageIndexHint"], message["messageRole"], message["messageContent"]
