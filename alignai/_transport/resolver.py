"""Looking up host names without being held up by the resolver of the system."""

from __future__ import annotations

import queue
import socket
import threading
from typing import Any, NamedTuple

from alignai._exclusive import exclusive
from alignai._interruption import is_interruption

Address = tuple[Any, ...]
"""An address from `socket.getaddrinfo`: family, type, protocol, canonical name, socket address."""

Inbox = queue.SimpleQueue[list[Address] | BaseException]
"""The queue on which an upload waits. A signal handler that cancels an upload may use no other kind of queue."""


class _Lookup(NamedTuple):
    thread: threading.Thread
    inbox: Inbox


class Resolver:
    """
    Looks up names on threads of their own, since `getaddrinfo` cannot be interrupted.

    There is at most one thread per host and port. An upload shares the lookup that an earlier one has given up, so a
    name server that does not respond costs one thread, not one for each attempt.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._under_way: dict[tuple[str, int], _Lookup] = {}

    def look_up(self, host: str, port: int, inbox: Inbox) -> None:
        """
        Put the addresses of *host* into *inbox* once they are known, or the exception that the lookup raises.

        Only the last caller for a host and port gets them. Uploads of one client take turns, so no earlier caller is
        still waiting.
        """
        thread = threading.Thread(target=self._ask, args=(host, port), name="alignai-resolver")
        if self._share_lookup((host, port), _Lookup(thread, inbox)):
            return
        try:
            thread.daemon = True  # raises in an isolated subinterpreter, which has no such threads
            thread.start()
        except Exception as error:  # the interpreter exits, a limit is reached, or there are no threads
            if is_interruption(error):
                raise
            self._ask(host, port)

    @exclusive
    def _share_lookup(self, name: tuple[str, int], new: _Lookup) -> bool:
        """Return True if a lookup of *name* is under way, which will use the inbox of *new*. Otherwise note *new*."""
        earlier = self._under_way.get(name)
        shared = earlier is not None and earlier.thread.is_alive()
        self._under_way[name] = earlier._replace(inbox=new.inbox) if earlier and shared else new
        return shared

    @exclusive
    def _end_lookup(self, name: tuple[str, int]) -> Inbox:
        return self._under_way.pop(name).inbox

    def _ask(self, host: str, port: int) -> None:
        result: list[Address] | BaseException
        try:
            result = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except BaseException as error:  # noqa: BLE001 - the upload waits for a result, whatever it is
            result = error
        self._end_lookup((host, port)).put(result)
