"""The connection that an upload is using: until when, and how to break it from another thread."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from alignai.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

_Found = list[tuple[Any, ...]]
_Options = Iterable[tuple[int, int, int | bytes]]

LONGEST_WAIT: Final = 86_400.0
"""Seconds; what an endless deadline comes down to, since the operating system's timers do not take infinity."""


class SocketLike(Protocol):
    """What this needs of a socket, plain or TLS."""

    def fileno(self) -> int:
        """The descriptor."""

    def settimeout(self, value: float | None, /) -> None:
        """How long the next operation may take."""


class Line:
    """
    The connection in use.

    A timeout given to a socket starts again with each byte, so that a server which trickles is waited for without end.
    Here each single operation on the socket is given what is left of one deadline.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may call abort on the thread that holds it
        self._deadline = Deadline.never()
        self._cut = False
        self._held: socket.socket | None = None
        self._found: queue.SimpleQueue[_Found | Exception] = queue.SimpleQueue()

    @contextlib.contextmanager
    def until(self, deadline: Deadline) -> Iterator[None]:
        """Everything within is over by *deadline*, or when `abort` is called."""
        with self._lock:
            self._deadline, self._cut, self._found = deadline, False, queue.SimpleQueue()
        try:
            yield
        finally:
            self._keep(None)

    def abort(self) -> None:
        """Break the connection in use, from any thread or a signal handler."""
        with self._lock:
            self._cut = True
            self._found.put(_called_off())
            if self._held is not None:
                with contextlib.suppress(OSError):
                    self._held.shutdown(socket.SHUT_RDWR)

    def remaining(self) -> float:
        """
        Seconds left, more than 0.

        Raises:
            TimeoutError: No time is left.
            ConnectionAbortedError: `abort` was called.

        """
        if self._cut:
            raise _called_off()
        if (seconds := self._deadline.remaining) <= 0:
            raise TimeoutError("timed out")
        return min(seconds, LONGEST_WAIT)

    def arm(self, sock: SocketLike, share: int = 1) -> None:
        """Give the next operation on *sock* what is left of the time, divided by *share*; raises as `remaining`."""
        sock.settimeout(self.remaining() / share)

    def hold(self, sock: SocketLike) -> None:
        """Make *sock* the one that `abort` breaks."""
        # A copy of the descriptor: TLS takes the descriptor away from the socket that it wraps, and shutting an
        # SSLSocket down while another thread reads from it breaks that thread.
        self._keep(socket.socket(fileno=os.dup(sock.fileno())))

    def connect(self, host: str, port: int, options: _Options) -> socket.socket:
        """
        A connection to *host*, by whichever of its addresses answers first in turn.

        Raises:
            OSError: There is none within the time.

        """
        addresses = self._resolve(host, port)
        failure = OSError(f"{host} has no address")
        for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            sock = socket.socket(family, kind, protocol)
            try:
                self._dial(sock, address, options, share=left)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise failure

    def _dial(self, sock: socket.socket, address: Any, options: _Options, share: int) -> None:
        for option in options:
            sock.setsockopt(*option)
        self.hold(sock)
        self.arm(sock, share)
        sock.connect(address)
        self.arm(sock)  # for a TLS handshake, which comes next and is one operation

    def _resolve(self, host: str, port: int) -> _Found:
        """The addresses of *host*, asked for on a thread of its own: a resolver that hangs can't be interrupted."""
        found = self._found

        def ask() -> None:
            try:
                found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                found.put(error)

        try:
            threading.Thread(target=ask, name="alignai-resolver", daemon=True).start()
        except RuntimeError:  # no thread starts any more while the interpreter exits
            ask()
        try:
            answer = found.get(timeout=self.remaining())
        except queue.Empty:
            raise TimeoutError(f"the name {host} was not resolved in time") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _keep(self, sock: socket.socket | None) -> None:
        with self._lock:
            if self._held is not None:
                self._held.close()
            self._held = sock


def _called_off() -> ConnectionAbortedError:
    return ConnectionAbortedError("the upload was called off")
