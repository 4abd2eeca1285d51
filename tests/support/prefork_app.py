"""A web application whose client is made before the server forks its workers, and whose workers fork too."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

TASKS = Path("/proc/self/task")


def tell_of_threads() -> None:
    """Report threads that run at the instant of a fork, if the system lists them."""
    if TASKS.exists() and len(list(TASKS.iterdir())) > 1:
        sys.stderr.write("threads run at a fork\n")


os.register_at_fork(before=tell_of_threads)  # runs after the hooks of modules imported below

from alignai import AlignAI, Config  # noqa: E402 - as said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

sdk = AlignAI(config=Config(flush_interval_ms=20, flush_timeout_seconds=20))


def app(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Record an event, fork a child that records another, and say how that went."""
    sdk.close_session("worker")
    child = os.fork()
    if not child:
        sdk.close_session("child")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(status).encode()]
