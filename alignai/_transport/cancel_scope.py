"""The deadline of one upload, and cancelling it from another thread."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from alignai._exclusive import exclusive
from alignai._interruption import AllowingRefusal
from alignai.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alignai._transport.resolver import Inbox

MAX_WAIT_SECONDS: Final = 86_400.0
"""The wait under an endless deadline: the operating system's timers do not take infinity."""


class SocketLike(Protocol):
    """The methods that a scope needs of a socket, plain or TLS."""

    def fileno(self) -> int:
        """Return the descriptor."""

    def settimeout(self, value: float | None, /) -> None:
        """Limit the next operation."""


@dataclass(slots=True)
class Progress:
    """
    The progress of a request.

    Attributes:
        began_at: When the request was begun, on the monotonic clock.
        idled: Seconds since the request before it.
        reached: Whether it was begun on a connection, so that the server or a proxy may have seen it.
        reused: Whether that connection had been used before.
        unsent: The bytes that the system has not taken yet. Without them the server cannot have the whole request.
        moved_at: When the system last took bytes, on the monotonic clock.
    """

    began_at: float
    idled: float = 0.0
    reached: bool = False
    reused: bool = False
    unsent: int = 0
    moved_at: float = 0.0

    def is_too_slow(self, now: float) -> bool:
        """
        Return True if the time until *now* went into sending.

        If nothing was sent in the second half of the time, the network is not slow but dead, or the server has stopped
        reading.
        """
        half = (now - self.began_at) / 2
        return now - self.moved_at < half if self.unsent else self.moved_at - self.began_at > half


class CancelScope:
    """
    The deadline of one upload at a time, and the connection that it uses.

    The timeout of a socket starts again with each byte, so a server that trickles could hold an upload without end.
    A scope gives each single operation on the socket the time that is left until one deadline.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may call `cancel` on the thread that holds it
        self._deadline = Deadline.never()
        self._cancelled = False
        self._tracked: socket.socket | None = None
        self.inbox: Inbox = queue.SimpleQueue()
        self.progress = Progress(began_at=0.0)

    @contextlib.contextmanager
    def open(self, deadline: Deadline) -> Iterator[None]:
        """Begin an upload that ends at *deadline*, or when `cancel` is called."""
        self._begin(deadline)
        try:
            yield
        finally:
            self._set_tracked(None)

    @exclusive
    def _begin(self, deadline: Deadline) -> None:
        self._deadline, self._cancelled, self.inbox = deadline, False, queue.SimpleQueue()

    @exclusive
    def cancel(self) -> None:
        """Break the connection in use. Any thread and any signal handler may call this."""
        self._cancelled = True
        self.inbox.put(_cancelled_error())
        if self._tracked is not None:
            with AllowingRefusal():
                self._tracked.shutdown(socket.SHUT_RDWR)

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Apply a deadline in *seconds* from now as well."""
        outer, self._deadline = self._deadline, self._deadline.sooner(seconds)
        try:
            yield
        finally:
            self._deadline = outer

    @property
    def timed_out(self) -> bool:
        """Whether the deadline has passed, and `cancel` was not called."""
        return self._deadline.expired and not self._cancelled

    def remaining(self) -> float:
        """
        Return the seconds left, more than 0.

        Raises:
            TimeoutError: No time is left.
            ConnectionAbortedError: `cancel` was called.

        """
        if self._cancelled:
            raise _cancelled_error()
        if (seconds := self._deadline.remaining) <= 0:
            raise TimeoutError("timed out")
        return min(seconds, MAX_WAIT_SECONDS)

    def apply_timeout(self, sock: SocketLike) -> None:
        """Give the next operation on *sock* the time that is left. Raises as `remaining` does."""
        sock.settimeout(self.remaining())

    def track(self, sock: SocketLike, *, dead_after: float | None = None) -> None:
        """
        Make *sock* the one that `cancel` breaks.

        Args:
            sock: The socket.
            dead_after: Seconds after which it counts as broken if the other side has not acknowledged the bytes sent.
        """
        # A copy of the descriptor: TLS takes the descriptor away from the socket that it wraps, and shutting down an
        # SSLSocket while another thread reads from it breaks that thread.
        held = socket.socket(fileno=os.dup(sock.fileno()))
        self._set_tracked(held)
        if dead_after is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            with AllowingRefusal():  # some containers lack the option: the deadline has to do
                held.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(dead_after * 1000)))

    @exclusive
    def _set_tracked(self, sock: socket.socket | None) -> None:
        if self._tracked is not None:
            self._tracked.close()
        self._tracked = sock


def _cancelled_error() -> ConnectionAbortedError:
    return ConnectionAbortedError("the upload was cancelled")
