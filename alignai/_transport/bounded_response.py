"""HTTP responses that are read until a deadline and up to a size."""

from __future__ import annotations

import io
import socket
from http.client import HTTPResponse, RemoteDisconnected
from typing import TYPE_CHECKING, Any, Final

from alignai._interruption import AllowingRefusal

if TYPE_CHECKING:
    from alignai._transport.cancel_scope import CancelScope

MAX_RESPONSE_BYTES: Final = 256 * 1024
"""The limit for reading a response, its head included. An endless response must end before the deadline, too."""


class BoundedResponse(HTTPResponse):
    """
    A response that is read within a scope.

    Args:
        sock: The connection.
        scope: Holds the deadline.
        early: The bytes of the response that have been read already.
        args: Passed on to `http.client`.
        kwargs: Passed on, too.
    """

    def __init__(self, sock: Any, *args: Any, scope: CancelScope, early: bytes, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._reader = _Reader(self.fp.detach(), sock, scope, early)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head of the response."""
        super().begin()
        if self._reader.ended:  # http.client takes the end of the stream for the end of the head
            raise RemoteDisconnected("the head of the response is truncated")
        # urllib3 would log the lines that cannot be parsed. If the server echoes the API key there, that is a leak.
        self.msg.defects.clear()
        self.msg.set_payload("")

    def _close_conn(self) -> None:
        """End the connection if more than this response has come: the rest would be taken for the next response."""
        self._reader.over = True
        if self.fp.peek(1):
            with AllowingRefusal():
                self._reader.sock.shutdown(socket.SHUT_RDWR)
        super()._close_conn()  # type: ignore[misc] # http.client has it in every version


class _Reader(io.RawIOBase):
    """
    The bytes of one response, *early* ones first.

    Each read keeps to the deadline of the scope. All reads together keep to a size limit.

    Attributes:
        ended: Whether the server has ended the stream.
        over: Set once the response is complete. Then nothing more is read.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, scope: CancelScope, early: bytes) -> None:
        super().__init__()
        self._raw = raw
        self.sock = sock
        self._scope = scope
        self._early = early
        self._left = MAX_RESPONSE_BYTES
        self.ended = False
        self.over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.over:
            return 0
        if self._left <= 0:
            raise OSError(f"the response goes on after {MAX_RESPONSE_BYTES} bytes")
        count = self._read_early(buffer) if self._early else self._read(buffer)
        self._left -= count or 0
        return count

    def _read_early(self, buffer: Any) -> int:
        count = min(len(buffer), len(self._early))
        buffer[:count] = self._early[:count]
        self._early = self._early[count:]
        return count

    def _read(self, buffer: Any) -> int | None:
        self._scope.apply_timeout(self.sock)
        count = self._raw.readinto(buffer)
        if not count:
            self._scope.remaining()  # raises if `cancel` ended the stream, not the server
            self.ended = True
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
