"""Connections of urllib3 that keep to one deadline, and hear a server that answers before it has read everything."""

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

from alignai._transport.bounded_response import MAX_RAW, BoundedResponse
from alignai.clock import monotonic
from alignai.interruption import AllowingRefusal, is_interruption

if TYPE_CHECKING:
    from alignai._transport.cancel_scope import Line
    from alignai._transport.connector import Connector

_DEAD_AFTER_SECONDS: Final = 2.0
"""How long a connection that was used before may leave what is sent on it unacknowledged."""

_IDLE_SECONDS: Final = 0.5
_SILENT_SECONDS: Final = 3.0
"""How long one that has idled for so long may leave a request unanswered, unless answers take long anyway."""

_NOT_NOW: Final = (BlockingIOError, SSLWantReadError, SSLWantWriteError)
_INTERIM: Final = re.compile(rb"(?:HTTP/1\.[01] 100[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n)*")
_STATUS_LENGTH: Final = len(b"HTTP/1.1 200")


class Adapter(HTTPAdapter):
    """Makes such connections, directly and through HTTP proxies."""

    def __init__(self, line: Line, connector: Connector) -> None:
        self._pools = _pool_classes(line, connector)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the pools make connections of ours."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        """Have the pools of a proxy do so, too."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # those pools make connections of their own
            manager.pool_classes_by_scheme = self._pools
        return manager


class ScopedConnection(HTTPConnection):
    """A connection whose every operation on the socket keeps to the line's deadline."""

    _line: Line
    _connector: Connector

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._early = b""
        self._is_new = True
        self._awaits_answer = False
        self.response_class = self._response  # type: ignore[assignment] # it is only called

    def _response(self, sock: Any, *args: Any, **kwargs: Any) -> BoundedResponse:
        return BoundedResponse(sock, *args, line=self._line, early=self._early, **kwargs)

    def _new_conn(self) -> socket.socket:
        try:
            # For a proxy urllib3 leaves them out, and each request then waits 40 ms for Nagle's algorithm.
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

        A connection that has idled may have been dropped by a middlebox without a word. So what is sent on it must be
        acknowledged and answered soon, or it counts as broken, with time left for a new one. A new connection is given
        all the time: it has just shown that it is alive, and a slow server must not be taken for a dead one.
        """
        progress = self._line.progress
        if self.sock is None:
            self.connect()
        elif not self._is_new:
            progress.reused = True
            self._line.hold(self.sock, dead_after=min(_DEAD_AFTER_SECONDS, self._line.remaining() / 2))
        self._is_new = False
        self._early = b""
        self._awaits_answer = progress.reached = True
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        """Wait for the answer."""
        began_at = monotonic()
        progress = self._line.progress
        doubted = progress.reused and progress.idled > _IDLE_SECONDS
        with self._line.within(max(_SILENT_SECONDS, 3 * self._connector.answer_seconds) if doubted else math.inf):
            response = super().getresponse()
        self._connector.answer_seconds = monotonic() - began_at
        self._awaits_answer = False
        return response

    def close(self) -> None:
        """
        Close the connection.

        If the time has run out, what the system has not sent yet is thrown away: it would take the next attempt's share
        of a line that is slow enough.
        """
        if self._awaits_answer and self._line.ran_out and isinstance(self.sock, socket.socket):
            with AllowingRefusal():
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._awaits_answer = False
        super().close()

    def send(self, data: Any) -> None:
        """
        Send *data*, and stop when the server answers meanwhile.

        Raises:
            BrokenPipeError: The server does not read on, and may have said why: urllib3 goes on to read the answer.
            TimeoutError: No time is left.
        """
        progress = self._line.progress
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
            self._line.arm(self.sock)
            return int(self.sock.send(view))
        try:
            self.sock.settimeout(0)
            return self.sock.send(view)
        except _NOT_NOW:
            wait_for_socket(self.sock, read=True, write=True, timeout=self._line.remaining())
            self._line.remaining()  # raises if it was `abort` that ended the wait
            self._look_for_answer()
            return 0
        except OSError as error:
            if is_interruption(error):
                raise  # urllib3 lets a BrokenPipeError pass
            raise BrokenPipeError(f"the connection was closed while the request was sent: {error}") from error

    def _look_for_answer(self) -> None:
        try:
            piece = self.sock.recv(MAX_RAW)
        except _NOT_NOW:
            return
        except OSError as error:
            if is_interruption(error):
                raise  # urllib3 lets a BrokenPipeError pass
            raise BrokenPipeError(f"the connection was closed while the request was sent: {error}") from error
        self._early += piece
        if not piece or _has_answer(self._early):
            raise BrokenPipeError("the server has answered before the whole request was sent")


def _has_answer(received: bytes) -> bool:
    """Return True once more than interim answers (100 Continue) has come, after which a server reads on."""
    rest = _INTERIM.sub(b"", received, count=1)
    is_interim = rest[len(b"HTTP/1.1 ") :].startswith(b"100")
    return len(received) >= MAX_RAW or (len(rest) >= _STATUS_LENGTH and not is_interim)


def _pool_classes(line: Line, connector: Connector) -> dict[str, Any]:
    """Return the pools by scheme; a class for each client, since urllib3 hands its connections nothing but its own."""

    class Plain(ScopedConnection):
        _line = line
        _connector = connector

    class Secure(ScopedConnection, HTTPSConnection):
        _line = line
        _connector = connector

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
