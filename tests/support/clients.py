"""Clients and worker processes that record for the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignai import AlignAI, Config
from alignai.spool import Spool
from tests.support.uploads import KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.servers.connect import ConnectServer

PROJECT = "TEFSZ16"
ROOT = Path(__file__).parents[2]


def client(url: str, spool_path: Path, **config: Any) -> AlignAI:
    """A client that sends soon and gives up soon."""
    settings = {"flush_interval_ms": 20, "flush_timeout_seconds": 20, "spool_path": spool_path, **config}
    return AlignAI(PROJECT, KEY, url, Config(**settings))


def record(sdk: AlignAI, count: int, first: int = 1) -> list[str]:
    """Record *count* messages and return their ids."""
    ids = [sdk.create_message("s1", number, "user", f"message {number}") for number in range(first, first + count)]
    return [event_id for event_id in ids if event_id]


def stored(spool_path: Path, payloads: Iterable[bytes]) -> Spool:
    """An open spool with these events in it."""
    spool = Spool(spool_path, project_id=PROJECT)
    for payload in payloads:
        spool.append(payload)
    return spool


def repeated_under_another_id(server: ConnectServer) -> list[str]:
    """The events that came again under a request id that was not their first: no server can know that they did."""
    first: dict[str, str] = {}
    return [
        event_id
        for request in list(server.requests)
        for event_id in request.ids
        if first.setdefault(event_id, request.request_id) != request.request_id
    ]


def inspect(spool_path: Path) -> dict[str, Any]:
    """Return the output of `inspect` on a spool."""
    command = [sys.executable, "-m", "alignai.spool", "inspect", str(spool_path), "--json"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def worker(script: str, url: str, spool_path: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """
    Start a process that runs *script* with the settings of `AlignAI()` in its environment.

    It reads from a pipe and writes to one. Use it as a context manager.
    """
    environment = {
        **os.environ,
        "ALIGNAI_PROJECT_ID": PROJECT,
        "ALIGNAI_API_KEY": KEY,
        "ALIGNAI_HOST": url,
        "ALIGNAI_SPOOL_PATH": str(spool_path),
        "PYTHONPATH": str(ROOT),
    }
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, **options}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, env={**environment, **pipes.pop("env", {})}, **pipes)


def finished(script: str, url: str, spool_path: Path, *arguments: str, timeout: float = 60, **options: Any) -> str:
    """Run *script* in a process of its own and return its output. Fail if it fails or takes longer than *timeout*."""
    with worker(script, url, spool_path, *arguments, stderr=subprocess.PIPE, **options) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0, errors
    return output
