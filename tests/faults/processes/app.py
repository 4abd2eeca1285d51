"""A web application that records an event on each request. Its client is made before the server forks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.faults.processes.worker import begin, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

begin(os.environ["ORDERS"])
work(3)


def app(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Record an event and answer with the process id."""
    work(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
