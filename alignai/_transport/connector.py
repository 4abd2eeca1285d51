"""Connect to a host by whichever of its addresses answers."""

from __future__ import annotations

import os
import queue
import selectors
import socket
from collections import deque
from contextlib import ExitStack, suppress
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from alignai._transport.resolver import Resolver
from alignai.clock import monotonic
from alignai.interruption import AllowingRefusal, is_interruption

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alignai._transport.cancel_scope import Line
    from alignai._transport.resolver import Address

    Options = Iterable[tuple[int, int, int | bytes]]

STAGGER_SECONDS: Final = 0.25
"""How long the connection to one address may take before the next one is tried as well (RFC 8305, section 8)."""

_POLL_SECONDS: Final = 0.05
"""How often a connection that is being made is checked for `abort`: not every system tells a waiting thread."""

_KEEP_ALIVE_IDLE_SECONDS: Final = 5
_MAX_NOT_SENT: Final = 128 * 1024

# By name, as not every system has all of them.
_TCP_OPTIONS: Final = {
    # Have the system notice within seconds that the other side of an idle connection is gone.
    "TCP_KEEPIDLE": _KEEP_ALIVE_IDLE_SECONDS,
    "TCP_KEEPALIVE": _KEEP_ALIVE_IDLE_SECONDS,  # what macOS calls it
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 2,
    # Have it take no more bytes than the line does, or a request looks sent that is still in its buffers.
    "TCP_NOTSENT_LOWAT": _MAX_NOT_SENT,
}


class Connector:
    """
    Makes connections, as RFC 8305 ("Happy Eyeballs") says.

    The next address is tried when one fails or takes long, the first that connects is taken. The address that worked
    last comes first. One on which an upload failed comes last, until an upload succeeds: a host behind several
    addresses may be broken behind one of them only.

    Args:
        line: Says how long it may take.

    Attributes:
        answer_seconds: How long the last request had to wait for its answer.
    """

    def __init__(self, line: Line) -> None:
        self.answer_seconds = 0.0
        self._line = line
        self._resolver = Resolver()
        self._known: list[Any] = []
        self._current: Any = None
        self._worked: Any = None
        self._failed: list[Any] = []

    def connect(self, host: str, port: int, options: Options) -> socket.socket:
        """
        Return a connection to *host*.

        Raises:
            OSError: There is none within the time.
            ValueError: *host* cannot be a name.
        """
        self._current = None
        addresses = self._ordered(self._look_up(host, port))
        self._known = [address for *_, address in addresses]
        race = _Race(self._line, addresses, options)
        sock, self._current = race.run(OSError(f"{host} has no address"))
        return sock

    def succeeded(self) -> None:
        """Note that an upload got through on the last connection."""
        self._worked = self._current
        self._failed.clear()

    def failed(self) -> bool:
        """
        Note that an upload failed on the last connection, or while that was being made.

        Returns:
            Whether there is an address that has not been tried since the last success.
        """
        if self._current is None:  # all have been
            return False
        others = [address for address in self._failed if address in self._known and address != self._current]
        self._failed = [*others, self._current]
        return any(address not in self._failed for address in self._known)

    def _ordered(self, addresses: list[Address]) -> list[Address]:
        """Sort by the longest time since a failure, the address that worked first of those without one."""

        def rank(found: Address) -> tuple[int, bool]:
            *_, address = found
            place = self._failed.index(address) + 1 if address in self._failed else 0
            return place, address != self._worked

        return sorted(_interleaved(addresses), key=rank)

    def _look_up(self, host: str, port: int) -> list[Address]:
        inbox = self._line.inbox
        self._resolver.look_up(host, port, inbox)
        try:
            answer = inbox.get(timeout=self._line.remaining())
        except queue.Empty:
            raise TimeoutError(f"the name {host} was not resolved in time") from None
        if isinstance(answer, (OSError, ValueError)):
            raise answer
        if isinstance(answer, BaseException):
            raise OSError(f"the name {host} was not resolved: {type(answer).__name__}: {answer}") from answer
        return answer


class _Race:
    """Connections to several addresses, begun one after another; the first that is made wins."""

    def __init__(self, line: Line, addresses: list[Address], options: Options) -> None:
        self._line = line
        self._waiting = deque(addresses)
        self._options = options
        self._next_at = 0.0

    def run(self, failure: OSError) -> tuple[socket.socket, Any]:
        """Return the connection and the address that it leads to; raise *failure* if there are no addresses."""
        self._failure = failure
        with selectors.DefaultSelector() as selector:
            try:
                while self._waiting or selector.get_map():
                    self._begin_next(selector)
                    if winner := self._look(selector):
                        self._line.hold(winner.fileobj)
                        self._line.arm(winner.fileobj)  # for a TLS handshake, which is one operation
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
        for key, _ in selector.select(min(self._line.remaining(), _POLL_SECONDS) if selector.get_map() else 0):
            sock: Any = key.fileobj
            if not (number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                return key
            selector.unregister(sock)
            sock.close()
            self._fail(OSError(number, os.strerror(number)))
        return None

    def _fail(self, error: OSError) -> None:
        self._failure = error
        self._next_at = 0.0  # RFC 8305: the next one need not wait


def _interleaved(addresses: list[Address]) -> list[Address]:
    """Take addresses of both families in turn: often one family as a whole leads nowhere."""
    first = [found for found in addresses if found[0] == addresses[0][0]]
    others = [found for found in addresses if found[0] != addresses[0][0]]
    return [found for pair in zip_longest(first, others) for found in pair if found is not None]


def _extra_options() -> list[tuple[int, int, int]]:
    known = [name for name in _TCP_OPTIONS if hasattr(socket, name)]
    tcp = [(socket.IPPROTO_TCP, getattr(socket, name), _TCP_OPTIONS[name]) for name in known]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *tcp]


_EXTRA_OPTIONS: Final = _extra_options()
