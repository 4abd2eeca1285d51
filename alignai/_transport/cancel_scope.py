"""The connection that an upload is using: until when, and how to break it from another thread."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from alignai.deadline import Deadline
from alignai.interruption import AllowingRefusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alignai._transport.resolver import Inbox

LONGEST_WAIT: Final = 86_400.0
"""Seconds; what an endless deadline comes down to, since the operating system's timers do not take infinity."""


class SocketLike(Protocol):
    """What this needs of a socket, plain or TLS."""

    def fileno(self) -> int:
        """The descriptor."""

    def settimeout(self, value: float | None, /) -> None:
        """How long the next operation may take."""


@dataclass(slots=True)
class Progress:
    """
    How far a request has got.

    Attributes:
        began_at: When it was begun, on the monotonic clock.
        idled: Seconds since the request before it.
        reached: Whether it was begun on a connection, so that the server, or something before it, may know of it.
        reused: Whether that connection had been used before.
        unsent: The bytes of it that the system has not taken yet: without them the server cannot have all of it.
        moved_at: When the system last took some, on the monotonic clock.
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

        A line that took nothing in the second half of the time is not slow but dead, and so is a server that has
        stopped to read.
        """
        half = (now - self.began_at) / 2
        return now - self.moved_at < half if self.unsent else self.moved_at - self.began_at > half


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
        self.inbox: Inbox = queue.SimpleQueue()
        self.progress = Progress(began_at=0.0)

    @contextlib.contextmanager
    def until(self, deadline: Deadline) -> Iterator[None]:
        """Everything within is over by *deadline*, or when `abort` is called."""
        with self._lock:
            self._deadline, self._cut, self.inbox = deadline, False, queue.SimpleQueue()
        try:
            yield
        finally:
            self._keep(None)

    def abort(self) -> None:
        """Break the connection in use, from any thread or a signal handler."""
        with self._lock:
            self._cut = True
            self.inbox.put(_called_off())
            if self._held is not None:
                with AllowingRefusal():
                    self._held.shutdown(socket.SHUT_RDWR)

    @property
    def called_off(self) -> bool:
        """Whether `abort` was called."""
        return self._cut

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Everything within is over in so many *seconds*, too."""
        whole, self._deadline = self._deadline, self._deadline.sooner(seconds)
        try:
            yield
        finally:
            self._deadline = whole

    @property
    def ran_out(self) -> bool:
        """Whether the deadline has passed, and `abort` was not called."""
        return self._deadline.expired and not self._cut

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

    def arm(self, sock: SocketLike) -> None:
        """Give the next operation on *sock* what is left of the time; raises as `remaining`."""
        sock.settimeout(self.remaining())

    def hold(self, sock: SocketLike, *, dead_after: float | None = None) -> None:
        """
        Make *sock* the one that `abort` breaks.

        Args:
            sock: The socket.
            dead_after: Seconds after which it is broken if the other side does not say that it has got what was sent.
        """
        # A copy of the descriptor: TLS takes the descriptor away from the socket that it wraps, and shutting an
        # SSLSocket down while another thread reads from it breaks that thread.
        held = socket.socket(fileno=os.dup(sock.fileno()))
        self._keep(held)
        if dead_after is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            with AllowingRefusal():  # some containers do not know it; then the deadline has to do
                held.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(dead_after * 1000)))

    def _keep(self, sock: socket.socket | None) -> None:
        with self._lock:
            if self._held is not None:
                self._held.close()
            self._held = sock


def _called_off() -> ConnectionAbortedError:
    return ConnectionAbortedError("the upload was called off")
