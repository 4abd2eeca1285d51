"""A loopback port that stays the server's own while the server is down."""

from __future__ import annotations

import contextlib
import socket


class Port:
    """
    A port of 127.0.0.1 that is held while no server listens on it.

    Without that, a connection attempt to a stopped server may be given this very port as its source and connect to
    itself, and then the server finds its port taken when it comes back.
    """

    def __init__(self, number: int = 0) -> None:
        self._held: socket.socket | None = None
        self.number = number
        self.hold()

    def hold(self) -> None:
        """Bind the port without listening, so that connections are refused."""
        if self._held is None:
            self._held = self._bound()
            self.number = self._held.getsockname()[1]

    def listener(self) -> socket.socket:
        """A socket bound to the port, for a server to listen on."""
        self.release()
        return self._bound()

    def release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _bound(self) -> socket.socket:
        with contextlib.ExitStack() as undo:
            sock = undo.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", self.number))
            undo.pop_all()
            return sock
