"""
A small ingestion server on loopback: for demonstrations, and for trying a worker without an account.

`python -m alignai.collector [--port N] [--api-key-from-env]` runs one until Ctrl-C. It keeps what it takes in memory.
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
    """One event as one request brought it; an event that comes again is another delivery."""

    request_id: str
    event_id: str
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """What came so far: requests taken and refused, events taken, and how many of either had come before."""

    requests: int
    refused: int
    events: int
    repeated_requests: int
    repeated_events: int


class Collector:
    """
    Takes events on 127.0.0.1 as the ingestion service does, and remembers every delivery.

    Events are held to the schemas the SDK holds its callers to. One event that fails them refuses its whole request.
    May be started and stopped again and again: the port and what was received stay.

    Args:
        port: Where to listen; 0 takes a free port, which later starts keep.
        api_key: What callers must show as a bearer token; None asks for nothing.
        max_request_bytes: The largest body taken, as it is after inflation.
        report: Called with a line for each request, free of contents and keys.
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
        """The address to give as `api_host`; its port is known from the first start on."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def received(self) -> tuple[Delivery, ...]:
        """Every delivery in order of arrival, repeats included."""
        with self._lock:
            return tuple(self._deliveries)

    @property
    def counts(self) -> Counts:
        """The figures at this moment."""
        with self._lock:
            return Counts(
                requests=len(self._request_ids),
                refused=self._refused,
                events=len(self._deliveries),
                repeated_requests=len(self._request_ids) - len(set(self._request_ids)),
                repeated_events=len(self._deliveries) - len(self._event_ids),
            )

    def start(self) -> None:
        """Listen; nothing where it already does. OSError where the port is taken."""
        if self._server is not None:
            return
        self._server = Server(self, self._port)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="alignai-collector")
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and cut live connections, as a server that dies does; nothing where it is stopped."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.cut_connections()
        self._server.server_close()
        self._server = self._thread = None

    def take(self, request_id: str, taken: Sequence[dict[str, Any]]) -> None:
        """Remember the events of one request, all or none."""
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
    """Run a collector until Ctrl-C; returns the exit code."""
    parser = argparse.ArgumentParser("python -m alignai.collector", description="A local ingestion server.")
    parser.add_argument("--port", type=int, default=0, help="where to listen (default: a free port)")
    parser.add_argument("--api-key-from-env", action="store_true", help="ask callers for the key in ALIGNAI_API_KEY")
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
