"""HTTP answers that are read by a deadline and up to a size."""

from __future__ import annotations

import io
import socket
from http.client import HTTPResponse, RemoteDisconnected
from typing import TYPE_CHECKING, Any, Final

from alignai.interruption import AllowingRefusal

if TYPE_CHECKING:
    from alignai._transport.cancel_scope import Line

MAX_RAW: Final = 256 * 1024
"""The most that is read of an answer, its head included: an endless one must end before its deadline too."""


class BoundedResponse(HTTPResponse):
    """
    An answer that is read through the line.

    Args:
        sock: The connection.
        line: Says until when.
        early: What has been read of the answer already.
        args: What `http.client` hands over.
        kwargs: So are these.
    """

    def __init__(self, sock: Any, *args: Any, line: Line, early: bytes, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._reader = _Reader(self.fp.detach(), sock, line, early)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        if self._reader.ended:  # http.client takes the end of the stream for the end of the head
            raise RemoteDisconnected("the head of the answer is cut off")
        # What of the head cannot be parsed, urllib3 would log: the API key, if the server echoes it there.
        self.msg.defects.clear()
        self.msg.set_payload("")

    def _close_conn(self) -> None:
        """End the connection if more than this answer has come: the rest would be taken for the next one."""
        self._reader.over = True
        if self.fp.peek(1):
            with AllowingRefusal():
                self._reader.sock.shutdown(socket.SHUT_RDWR)
        super()._close_conn()  # type: ignore[misc] # http.client's own name for it, in every version


class _Reader(io.RawIOBase):
    """
    The bytes of one answer, *early* ones first: each read keeps to the line's deadline, all together to a limit.

    Attributes:
        ended: Whether the server has ended the stream.
        over: Set once the answer is whole, after which nothing more is read.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, line: Line, early: bytes) -> None:
        super().__init__()
        self._raw = raw
        self.sock = sock
        self._line = line
        self._early = early
        self._left = MAX_RAW
        self.ended = False
        self.over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.over:
            return 0
        if self._left <= 0:
            raise OSError(f"the answer goes on after {MAX_RAW} bytes")
        count = self._read_early(buffer) if self._early else self._read(buffer)
        self._left -= count or 0
        return count

    def _read_early(self, buffer: Any) -> int:
        count = min(len(buffer), len(self._early))
        buffer[:count] = self._early[:count]
        self._early = self._early[count:]
        return count

    def _read(self, buffer: Any) -> int | None:
        self._line.arm(self.sock)
        count = self._raw.readinto(buffer)
        if not count:
            self._line.remaining()  # raises if this is no end of the answer, but abort's doing
            self.ended = True
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
