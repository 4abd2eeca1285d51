"""The end of a process: uploads continue while they succeed, and no process waits for a server that is away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from connectrpc.code import Code

from tests.delivery.test_sender import lease_held_elsewhere
from tests.support.clients import client, inspect, worker
from tests.support.servers.connect import refuse
from tests.support.servers.raw import reset, silence
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.servers.connect import ConnectServer, Request
    from tests.support.servers.raw import RawServer

ENDS = """
import logging, sys
from alignai import AlignAI, Config
logging.basicConfig(format="%(message)s")
times = {"flush_interval_ms": float(sys.argv[1]), "flush_timeout_seconds": 60, "request_timeout_seconds": 60}
sdk = AlignAI(config=Config(flush_batch_size=5, **times))
for number in range(1, 51):
    sdk.create_message("s1", number, "user", "hello")
print("recorded", flush=True)
input()
"""
LATER = "3600000"


def end(url: str, spool_path: Path, interval: str, meanwhile: Callable[[], object] = lambda: None) -> tuple[float, str]:
    """Return the seconds that the exit of a process with fifty events took, and its log."""
    log = spool_path.with_name("log")
    with log.open("w") as errors, worker(ENDS, url, spool_path, interval, stderr=errors) as process:
        assert process.stdout
        assert process.stdout.readline() == "recorded\n"
        meanwhile()
        begin = time.monotonic()
        process.communicate("\n", timeout=90)
        assert process.returncode == 0
    return time.monotonic() - begin, log.read_text()


def left(spool_path: Path) -> int:
    figures = inspect(spool_path)
    return int(figures["pending"] + figures["in_flight"])


def test_the_exit_goes_on_while_uploads_succeed(connect_server: ConnectServer, spool_path: Path) -> None:
    connect_server.respond = lambda request: time.sleep(0.15)  # more in all than any wait without progress
    end(connect_server.url, spool_path, LATER)
    assert len(connect_server.ids()) == 50


def test_the_exit_ends_at_the_first_failure_and_says_so_once(connect_server: ConnectServer, spool_path: Path) -> None:
    def fail_later(request: Request) -> None:
        if len(connect_server.requests) > 2:
            refuse(Code.UNAVAILABLE)(request)

    connect_server.respond = fail_later
    seconds, logged = end(connect_server.url, spool_path, LATER)
    assert seconds < 30
    remaining = left(spool_path)
    assert 0 < remaining < 50
    assert logged.count(f"{remaining} events are not sent yet") == 1


def test_the_exit_does_not_wait_for_a_server_that_is_known_to_hang(
    raw_server: Callable[..., RawServer], connect_server: ConnectServer, spool_path: Path
) -> None:
    """An attempt has failed before, so the exit waits a moment for the next one, not a minute."""
    attempts: list[int] = []

    def reset_then_hang(*arguments: object) -> None:
        attempts.append(1)
        (silence if len(attempts) > 2 else reset)(*arguments)  # type: ignore[arg-type]

    server = raw_server(reset_then_hang)
    # The first upload makes two requests, a compressed and a plain one. The third request is the second upload.
    seconds, _ = end(server.url, spool_path, "1", lambda: wait_until(lambda: len(attempts) > 2))
    assert seconds < 30
    assert left(spool_path) == 50


def test_an_exit_waits_for_another_uploader_only_while_it_uploads(
    connect_server: ConnectServer, spool_path: Path
) -> None:
    with lease_held_elsewhere(connect_server.url, spool_path):
        connect_server.respond = refuse(Code.UNAVAILABLE)
        seconds, _ = end(connect_server.url, spool_path, LATER)
        assert seconds < 30
        assert left(spool_path) == 50


def test_an_explicit_close_uses_its_time(connect_server: ConnectServer, spool_path: Path) -> None:
    def fail_twice(request: Request) -> None:
        if len(connect_server.requests) <= 2:
            refuse(Code.UNAVAILABLE)(request)

    connect_server.respond = fail_twice
    with client(connect_server.url, spool_path, flush_timeout_seconds=60) as sdk:
        sdk.close_session("s1")
    assert left(spool_path) == 0


@pytest.mark.parametrize("kind", ["process", "pool"])
@pytest.mark.parametrize(
    ("method", "inherited"), [("fork", True), ("fork", False), ("spawn", False), ("forkserver", False)]
)
def test_the_events_of_children_are_uploaded_at_their_end(
    connect_server: ConnectServer, spool_path: Path, method: str, kind: str, inherited: bool
) -> None:
    script = f"""
import os
from tests.support.children import main
if __name__ == "__main__":
    main({method!r}, {kind!r}, inherited={inherited})
    os.read(0, 1)
    os._exit(0)
"""
    with worker(script, connect_server.url, spool_path) as parent:
        wait_until(lambda: len(connect_server.ids()) == 2 + inherited)
        output, _ = parent.communicate("\n", timeout=30)
    assert sorted(connect_server.ids()) == sorted(output.split())
