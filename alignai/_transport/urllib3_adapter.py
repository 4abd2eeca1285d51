"""Connections of urllib3 that keep to one deadline, and notice a server that responds before it has read everything."""

from __future__ import annotations

import math
import re
import socket
import struct
from ssl import SSLWantReadError, SSLWantWriteError
from typing import TYPE_CHECKING, Any, Final

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util.wait import wait_for_socket

from alignai._interruption import AllowingRefusal, is_interruption
from alignai._transport.bounded_response import MAX_RESPONSE_BYTES, BoundedResponse
from alignai.clock import monotonic

if TYPE_CHECKING:
    from alignai._transport.cancel_scope import CancelScope
    from alignai._transport.connector import Connector

_DEAD_AFTER_SECONDS: Final = 2.0
"""How long a reused connection may leave the bytes that are sent on it unacknowledged."""

_IDLE_SECONDS: Final = 0.5
_SILENT_SECONDS: Final = 3.0
"""How long a connection that was idle for `_IDLE_SECONDS` may leave a request without a response.

If responses take long anyway, it gets more time.
"""

_NOT_NOW: Final = (BlockingIOError, SSLWantReadError, SSLWantWriteError)
_INTERIM: Final = re.compile(rb"(?:HTTP/1\.[01] 100[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n)*")
_STATUS_LENGTH: Final = len(b"HTTP/1.1 200")


class Adapter(HTTPAdapter):
    """Makes such connections, directly and through HTTP proxies."""

    def __init__(self, scope: CancelScope, connector: Connector) -> None:
        self._pools = _pool_classes(scope, connector)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the pools make a `ScopedConnection` each time."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        """Have the pools of a proxy do the same."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # these pools make connections of their own kind
            manager.pool_classes_by_scheme = self._pools
        return manager


class ScopedConnection(HTTPConnection):
    """A connection on which each socket operation keeps to the deadline of a scope."""

    _scope: CancelScope
    _connector: Connector

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._early = b""
        self._is_new = True
        self._awaits_response = False
        self.response_class = self._response  # type: ignore[assignment] # it is only called

    def _response(self, sock: Any, *args: Any, **kwargs: Any) -> BoundedResponse:
        return BoundedResponse(sock, *args, scope=self._scope, early=self._early, **kwargs)

    def _new_conn(self) -> socket.socket:
        try:
            # urllib3 leaves them out for a proxy. Then each request waits 40 ms because of Nagle's algorithm.
            options = self.socket_options or self.default_socket_options
            self._is_new = True
            return self._connector.connect(self._dns_host, self.port, options)
        except OSError as error:
            if is_interruption(error):
                raise
            raise NewConnectionError(self, f"no connection: {error}") from error

    def request(self, *args: Any, **kwargs: Any) -> None:
        """
        Send a request.

        A middlebox may have silently dropped an idle connection. So the bytes that are sent on one must be acknowledged
        and answered soon. Otherwise it counts as broken while there is time for a new one. A new connection gets all
        the time: it has just shown that it is alive, and a slow server must not be taken for a dead one.
        """
        progress = self._scope.progress
        if self.sock is None:
            self.connect()
        elif not self._is_new:
            progress.reused = True
            self._scope.track(self.sock, dead_after=min(_DEAD_AFTER_SECONDS, self._scope.remaining() / 2))
        self._is_new = False
        self._early = b""
        self._awaits_response = progress.reached = True
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        """Wait for the response."""
        began_at = monotonic()
        progress = self._scope.progress
        doubted = progress.reused and progress.idled > _IDLE_SECONDS
        with self._scope.limit(max(_SILENT_SECONDS, 3 * self._connector.response_seconds) if doubted else math.inf):
            response = super().getresponse()
        self._connector.response_seconds = monotonic() - began_at
        self._awaits_response = False
        return response

    def close(self) -> None:
        """
        Close the connection.

        If the time has run out, the bytes that the system has not sent yet are discarded. On a slow network they would
        take bandwidth from the next attempt.
        """
        if self._awaits_response and self._scope.timed_out and isinstance(self.sock, socket.socket):
            with AllowingRefusal():
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._awaits_response = False
        super().close()

    def send(self, data: Any) -> None:
        """
        Send *data*, and stop if the server responds meanwhile.

        Raises:
            BrokenPipeError: The server has stopped reading and may have said why. urllib3 goes on to read the response.
            TimeoutError: No time is left.
        """
        progress = self._scope.progress
        progress.moved_at = monotonic()
        view = memoryview(data)
        while view:
            progress.unsent = len(view)
            if sent := self._send_some(view):
                progress.moved_at = monotonic()
                view = view[sent:]
        progress.unsent = 0

    def _send_some(self, view: memoryview) -> int:
        if not isinstance(self.sock, socket.socket):  # TLS within TLS can only block
            self._scope.apply_timeout(self.sock)
            return int(self.sock.send(view))
        try:
            self.sock.settimeout(0)
            return self.sock.send(view)
        except _NOT_NOW:
            wait_for_socket(self.sock, read=True, write=True, timeout=self._scope.remaining())
            self._scope.remaining()  # raises if `cancel` ended the wait
            self._look_for_response()
            return 0
        except OSError as error:
            if is_interruption(error):
                raise  # urllib3 lets a BrokenPipeError pass
            raise BrokenPipeError(f"the connection was closed while the request was sent: {error}") from error

    def _look_for_response(self) -> None:
        try:
            piece = self.sock.recv(MAX_RESPONSE_BYTES)
        except _NOT_NOW:
            return
        except OSError as error:
            if is_interruption(error):
                raise  # urllib3 lets a BrokenPipeError pass
            raise BrokenPipeError(f"the connection was closed while the request was sent: {error}") from error
        self._early += piece
        if not piece or _has_response(self._early):
            raise BrokenPipeError("the server responded before the whole request was sent")


def _has_response(received: bytes) -> bool:
    """Return True once more than interim responses (100 Continue) has come. After those a server reads on."""
    rest = _INTERIM.sub(b"", received, count=1)
    is_interim = rest[len(b"HTTP/1.1 ") :].startswith(b"100")
    return len(received) >= MAX_RESPONSE_BYTES or (len(rest) >= _STATUS_LENGTH and not is_interim)


def _pool_classes(scope: CancelScope, connector: Connector) -> dict[str, Any]:
    """Return the pools by scheme. Each client has its own classes: urllib3 passes no other arguments to connections."""

    class Plain(ScopedConnection):
        _scope = scope
        _connector = connector

    class Secure(ScopedConnection, HTTPSConnection):
        _scope = scope
        _connector = connector

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
