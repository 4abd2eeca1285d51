"""
A small ingestion server on loopback, to demonstrate the SDK or to try a worker without an account.

`python -m alignai.collector [--port N] [--api-key-from-env]` runs one until Ctrl-C. It keeps the events in memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from alignai.collector.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alignai.collector.request import Refusal

MAX_REQUEST_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event of one request. An event that is sent again is another delivery."""

    request_id: str
    event_id: str
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests accepted and refused so far, events accepted, and how many of both were repeats."""

    requests: int
    refused: int
    events: int
    repeated_requests: int
    repeated_events: int


class Collector:
    """
    A server that accepts events on 127.0.0.1 as the ingestion service does, and keeps every delivery.

    Events are checked against the schemas of the SDK. If one event is invalid, its whole request is refused. A
    collector can be stopped and started again. It keeps its port and its deliveries.

    Args:
        port: The port to listen on; 0 for a free one, which the collector then keeps.
        api_key: The bearer token that requests must have; None accepts requests without one.
        max_request_bytes: The largest accepted body, after decompression.
        report: Called with one line for each request, without contents and keys.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        api_key: str | None = None,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.api_key = api_key
        self.max_request_bytes = max_request_bytes
        self._port = port
        self._report = report
        self._lock = threading.Lock()
        self._deliveries: list[Delivery] = []
        self._request_ids: list[str] = []
        self._event_ids: set[str] = set()
        self._refused = 0
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Collector {self.url} {self.counts}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address for `api_host`. With port 0, its port is known after the first start."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def received(self) -> tuple[Delivery, ...]:
        """Every delivery in order of arrival, including repeats."""
        with self._lock:
            return tuple(self._deliveries)

    @property
    def counts(self) -> Counts:
        """The counts at this moment."""
        with self._lock:
            return Counts(
                requests=len(self._request_ids),
                refused=self._refused,
                events=len(self._deliveries),
                repeated_requests=len(self._request_ids) - len(set(self._request_ids)),
                repeated_events=len(self._deliveries) - len(self._event_ids),
            )

    def start(self) -> None:
        """Listen, unless the collector already does. Raise OSError if another program has the port."""
        if self._server is not None:
            return
        self._server = Server(self, self._port)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="alignai-collector")
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and cut open connections, as a server does that dies. Do nothing if it is stopped."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.cut_connections()
        self._server.server_close()
        self._server = self._thread = None

    def take(self, request_id: str, taken: Sequence[dict[str, Any]]) -> None:
        """Keep the events of one request."""
        with self._lock:
            known = len(self._event_ids)
            self._event_ids.update(event["id"] for event in taken)
            again = known + len(taken) - len(self._event_ids)
            self._request_ids.append(request_id)
            self._deliveries.extend(Delivery(request_id, event["id"], event) for event in taken)
        self._say(f"taken: {len(taken)} events, {again} of them again, request {request_id}")

    def refuse(self, refusal: Refusal) -> None:
        """Count a refused request."""
        with self._lock:
            self._refused += 1
        self._say(f"refused: {refusal.status.value} {refusal.code}")

    def _say(self, line: str) -> None:
        if self._report is not None:
            self._report(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a collector until Ctrl-C, and return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m alignai.collector", description="Run a local ingestion server that keeps events in memory."
    )
    parser.add_argument("--port", type=int, default=0, help="the port to listen on (default: a free port)")
    parser.add_argument(
        "--api-key-from-env", action="store_true", help="accept only requests with the key in ALIGNAI_API_KEY"
    )
    options = parser.parse_args(argv)
    api_key = os.environ.get("ALIGNAI_API_KEY") if options.api_key_from_env else None
    if options.api_key_from_env and not api_key:
        parser.error("--api-key-from-env: ALIGNAI_API_KEY is not set")
    return _serve(Collector(options.port, api_key=api_key, report=_print_line))


def _serve(collector: Collector) -> int:
    try:
        with collector:
            _print_line(f"listening on {collector.url} (Ctrl-C ends it)")
            threading.Event().wait()
    except KeyboardInterrupt:
        _print_line(str(collector.counts))
    return 0


def _print_line(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - its output is its purpose


if __name__ == "__main__":
    sys.exit(main())
