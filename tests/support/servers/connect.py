"""A real Connect server: connectrpc's WSGI application under waitress, in threads of its own, on loopback."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from connectrpc.compat import google_protobuf_codecs
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectWSGIApplication, EndpointSync
from google.protobuf.json_format import MessageToDict
from waitress import wasyncore
from waitress.server import create_server
from waitress.task import ThreadedTaskDispatcher

from tests.support.servers.ingestion import METHOD, SERVICE, empty_class, request_class
from tests.support.servers.port import Port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from connectrpc.code import Code
    from connectrpc.compression import Compression
    from connectrpc.request import RequestContext
    from google.protobuf.message import Message

_IN_MEMORY = 2**30  # waitress spills larger bodies into temporary files, which a stopped server would leave open


@dataclass
class Request:
    """
    One request as the server decoded it.

    `taken` is true if the server has its events. Set it before `respond` raises for a failure *after* the events were
    taken. `response_headers` are sent with the answer, also with an error.
    """

    request_id: str
    events: list[dict[str, Any]]
    headers: dict[str, str]
    taken: bool = False
    response_headers: dict[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]


class ConnectServer:
    """
    A Connect server that takes all events, unless `respond` raises.

    Args:
        respond: called with each `Request`; returns to take its events, raises `ConnectError` (or anything: that is
            an `unknown` error) to refuse. May be replaced at any time. One that hangs does so by
            `server.stopping.wait()`.
        port: the port, or 0 for any. It stays the same over `stop`, `start` and `restart`.
        read_max_bytes: the largest message, as Connect servers have it.
        compressions: as connectrpc's; None for gzip, () for none.
        threads: how many requests are served at a time.
    """

    def __init__(
        self,
        respond: Callable[[Request], None] | None = None,
        *,
        port: int = 0,
        read_max_bytes: int | None = None,
        compressions: Iterable[Compression] | None = None,
        threads: int = 4,
    ) -> None:
        self.respond = respond
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._port = Port(port)
        self._threads = threads
        self._application = _Application(self._collect, read_max_bytes, compressions)
        self._running: _Running | None = None

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def events(self) -> list[dict[str, Any]]:
        """The events taken, in order, repeats included."""
        return [event for request in list(self.requests) if request.taken for event in request.events]

    def ids(self) -> list[str]:
        """The ids of the events taken, in order, repeats included."""
        return [event["id"] for event in self.events()]

    def start(self) -> Self:
        if self._running is None:
            self.stopping.clear()
            self._running = _Running(self._application, self._port, self._threads)
        return self

    def stop(self) -> None:
        """Drop all connections and refuse new ones. The received requests and the port are kept."""
        if self._running is not None:
            self.stopping.set()
            self._running.stop()
            self._running = None
            self._port.hold()

    def restart(self) -> Self:
        self.stop()
        return self.start()

    def close(self) -> None:
        self.stop()
        self._port.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _collect(self, message: Message, context: RequestContext[Message, Message]) -> Message:
        content = MessageToDict(message)
        headers = dict(context.request_headers.items())
        request = Request(content.get("requestId", ""), content.get("events", []), headers)
        self.requests.append(request)
        try:
            if self.respond is not None:
                self.respond(request)
            request.taken = True
        finally:
            for name, value in request.response_headers.items():
                context.response_headers[name] = value
        return empty_class()()


def refuse(code: Code, message: str = "refused") -> Callable[[Request], None]:
    """A `respond` that answers every request with this error."""

    def respond(request: Request) -> None:
        raise ConnectError(code, message)

    return respond


class _Application(ConnectWSGIApplication):
    def __init__(
        self,
        collect: Callable[[Message, RequestContext[Message, Message]], Message],
        read_max_bytes: int | None,
        compressions: Iterable[Compression] | None,
    ) -> None:
        method = MethodInfo(
            name=METHOD,
            service_name=SERVICE,
            input=request_class(),
            output=empty_class(),
            idempotency_level=IdempotencyLevel.UNKNOWN,
            stream_type=StreamType.UNARY,
        )
        super().__init__(
            endpoints={f"{self.path}/{METHOD}": EndpointSync.unary(method=method, function=collect)},
            read_max_bytes=read_max_bytes,
            compressions=compressions,
            codecs=google_protobuf_codecs(),
        )

    @property
    def path(self) -> str:
        return f"/{SERVICE}"


class _Dispatcher(ThreadedTaskDispatcher):
    """Waitress's worker threads, joined when they stop, since none may outlive its test."""

    def __init__(self) -> None:
        super().__init__()
        self._workers: list[threading.Thread] = []

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        worker = threading.Thread(target=target, name=f"connect-server-{thread_no}", args=(thread_no,), daemon=True)
        self._workers.append(worker)
        worker.start()

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        done = super().shutdown(cancel_pending, timeout)
        for worker in self._workers:
            worker.join(timeout)
        return bool(done)


class _Running:
    """A server from its start to its stop."""

    def __init__(self, application: ConnectWSGIApplication, port: Port, threads: int) -> None:
        self._dispatcher = _Dispatcher()
        self._dispatcher.set_thread_count(threads)
        self._server = create_server(
            application,
            _dispatcher=self._dispatcher,
            sockets=[port.listener()],
            inbuf_overflow=_IN_MEMORY,
            outbuf_overflow=_IN_MEMORY,
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="connect-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._server.pull_trigger()
        self._thread.join()
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        # The server is closed last: a worker that ends uses its trigger, whose descriptor may be reused by then.
        self._dispatcher.shutdown()
        self._server.close()

    def _loop(self) -> None:
        while not self._over.is_set():
            wasyncore.loop(timeout=1, map=self._server._map, count=1)
