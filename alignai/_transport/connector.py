"""Connections to a host, by the first of its addresses that responds."""

from __future__ import annotations

import os
import queue
import selectors
import socket
from collections import deque
from contextlib import ExitStack, suppress
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from alignai._interruption import AllowingRefusal, is_interruption
from alignai._transport.resolver import Resolver
from alignai.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alignai._transport.cancel_scope import CancelScope
    from alignai._transport.resolver import Address

    Options = Iterable[tuple[int, int, int | bytes]]

STAGGER_SECONDS: Final = 0.25
"""How long the connection to one address may take before the next one is tried as well (RFC 8305, section 8)."""

_POLL_SECONDS: Final = 0.05
"""How often a pending connection is checked for `cancel`: not every system wakes the waiting thread."""

_KEEP_ALIVE_IDLE_SECONDS: Final = 5
_MAX_NOT_SENT: Final = 128 * 1024

# By name, as not every system has all of them.
_TCP_OPTIONS: Final = {
    # Have the system notice within seconds that the other side of an idle connection is gone.
    "TCP_KEEPIDLE": _KEEP_ALIVE_IDLE_SECONDS,
    "TCP_KEEPALIVE": _KEEP_ALIVE_IDLE_SECONDS,  # what macOS calls it
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 2,
    # Have the system buffer little, or a request looks sent while it is still in the buffers.
    "TCP_NOTSENT_LOWAT": _MAX_NOT_SENT,
}


class Connector:
    """
    Makes connections as in RFC 8305 ("Happy Eyeballs").

    If an address fails or takes long, the next one is tried as well. The first that connects is used. The address that
    worked last is tried first. An address on which an upload failed is tried last until an upload succeeds, since a
    host may be broken behind one of its addresses only.

    Args:
        scope: Holds the deadline.

    Attributes:
        response_seconds: How long the last request waited for its response.
    """

    def __init__(self, scope: CancelScope) -> None:
        self.response_seconds = 0.0
        self._scope = scope
        self._resolver = Resolver()
        self._known: list[Any] = []
        self._current: Any = None
        self._worked: Any = None
        self._failed: list[Any] = []

    def connect(self, host: str, port: int, options: Options) -> socket.socket:
        """
        Return a connection to *host*.

        Raises:
            OSError: No connection was made in time.
            ValueError: *host* is not a valid name.
        """
        self._current = None
        addresses = self._ordered(self._look_up(host, port))
        self._known = [address for *_, address in addresses]
        race = _Race(self._scope, addresses, options)
        sock, self._current = race.run(OSError(f"{host} has no address"))
        return sock

    def succeeded(self) -> None:
        """Note that an upload got through on the last connection."""
        self._worked = self._current
        self._failed.clear()

    def failed(self) -> bool:
        """
        Note that an upload failed on the last connection, or while it was being made.

        Returns:
            Whether there is an address that has not been tried since the last success.
        """
        if self._current is None:  # all addresses have been tried
            return False
        others = [address for address in self._failed if address in self._known and address != self._current]
        self._failed = [*others, self._current]
        return any(address not in self._failed for address in self._known)

    def _ordered(self, addresses: list[Address]) -> list[Address]:
        """Sort by the time since a failure, longest first. The address that worked leads those without a failure."""

        def rank(found: Address) -> tuple[int, bool]:
            *_, address = found
            place = self._failed.index(address) + 1 if address in self._failed else 0
            return place, address != self._worked

        return sorted(_interleaved(addresses), key=rank)

    def _look_up(self, host: str, port: int) -> list[Address]:
        inbox = self._scope.inbox
        self._resolver.look_up(host, port, inbox)
        try:
            found = inbox.get(timeout=self._scope.remaining())
        except queue.Empty:
            raise TimeoutError(f"the name {host} was not resolved in time") from None
        if isinstance(found, (OSError, ValueError)):
            raise found
        if isinstance(found, BaseException):
            raise OSError(f"the name {host} was not resolved: {type(found).__name__}: {found}") from found
        return found


class _Race:
    """Connections to several addresses, begun one after another. The first that is made wins."""

    def __init__(self, scope: CancelScope, addresses: list[Address], options: Options) -> None:
        self._scope = scope
        self._waiting = deque(addresses)
        self._options = options
        self._next_at = 0.0

    def run(self, failure: OSError) -> tuple[socket.socket, Any]:
        """Return the connection and its address. Raise *failure* if there are no addresses."""
        self._failure = failure
        with selectors.DefaultSelector() as selector:
            try:
                while self._waiting or selector.get_map():
                    self._begin_next(selector)
                    if winner := self._look(selector):
                        self._scope.track(winner.fileobj)
                        self._scope.apply_timeout(winner.fileobj)  # for the TLS handshake, which is one operation
                        selector.unregister(winner.fileobj)
                        return winner.fileobj, winner.data
            finally:
                for key in list(selector.get_map().values()):
                    key.fileobj.close()  # type: ignore[union-attr] # only sockets are registered
        raise self._failure

    def _begin_next(self, selector: selectors.BaseSelector) -> None:
        if not self._waiting or (selector.get_map() and monotonic() < self._next_at):
            return
        family, kind, protocol, _, address = self._waiting.popleft()
        self._next_at = monotonic() + STAGGER_SECONDS
        with ExitStack() as undo:
            try:
                sock = undo.enter_context(socket.socket(family, kind, protocol))
                for option in self._options:
                    sock.setsockopt(*option)
                for option in _EXTRA_OPTIONS:
                    with AllowingRefusal():  # some containers do not know it; then the deadline has to do
                        sock.setsockopt(*option)
                sock.setblocking(False)
                with suppress(BlockingIOError):
                    sock.connect(address)
            except OSError as error:
                if is_interruption(error):
                    raise
                self._fail(error)
                return
            selector.register(sock, selectors.EVENT_WRITE, address)
            undo.pop_all()

    def _look(self, selector: selectors.BaseSelector) -> Any:
        """Wait a moment for a connection to be made."""
        for key, _ in selector.select(min(self._scope.remaining(), _POLL_SECONDS) if selector.get_map() else 0):
            sock: Any = key.fileobj
            if not (number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                return key
            selector.unregister(sock)
            sock.close()
            self._fail(OSError(number, os.strerror(number)))
        return None

    def _fail(self, error: OSError) -> None:
        self._failure = error
        self._next_at = 0.0  # RFC 8305: the next address is tried at once


def _interleaved(addresses: list[Address]) -> list[Address]:
    """Return the addresses of both families in turn: often one whole family does not work."""
    first = [found for found in addresses if found[0] == addresses[0][0]]
    others = [found for found in addresses if found[0] != addresses[0][0]]
    return [found for pair in zip_longest(first, others) for found in pair if found is not None]


def _extra_options() -> list[tuple[int, int, int]]:
    known = [name for name in _TCP_OPTIONS if hasattr(socket, name)]
    tcp = [(socket.IPPROTO_TCP, getattr(socket, name), _TCP_OPTIONS[name]) for name in known]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *tcp]


_EXTRA_OPTIONS: Final = _extra_options()
