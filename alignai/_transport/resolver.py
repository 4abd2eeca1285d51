"""Look host names up without being held by the system's resolver."""

from __future__ import annotations

import queue
import socket
import threading
from typing import Any, NamedTuple

from alignai.interruption import is_interruption

Address = tuple[Any, ...]
"""What `socket.getaddrinfo` says of an address: family, type, protocol, canonical name, socket address."""

Inbox = queue.SimpleQueue[list[Address] | BaseException]
"""Where an upload waits for an answer; only this kind of queue may be used by a signal handler that aborts one."""


class _Lookup(NamedTuple):
    thread: threading.Thread
    inbox: Inbox


class Resolver:
    """
    Looks names up on threads of their own, since `getaddrinfo` cannot be interrupted.

    There is one thread per host and port at most: an upload shares the lookup that an earlier one has given up, so a
    name server that does not answer costs one thread, not one for each attempt.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], _Lookup] = {}

    def look_up(self, host: str, port: int, inbox: Inbox) -> None:
        """
        Have the addresses of *host* put into *inbox*, or whatever exception the lookup raises.

        The last to ask for a host and port gets the answer. Uploads of one client take turns: nobody waits for an
        earlier one.
        """
        name = (host, port)
        with self._lock:
            earlier = self._under_way.get(name)
            if earlier and earlier.thread.is_alive():
                self._under_way[name] = earlier._replace(inbox=inbox)
                return
            thread = threading.Thread(target=self._ask, args=name, name="alignai-resolver")
            self._under_way[name] = _Lookup(thread, inbox)
        try:
            thread.daemon = True
            thread.start()
        except Exception as error:  # the interpreter exits, a limit is reached, or it has no such threads
            if is_interruption(error):
                raise
            self._ask(host, port)

    def _ask(self, host: str, port: int) -> None:
        answer: list[Address] | BaseException
        try:
            answer = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer: the upload waits for one
            answer = error
        with self._lock:
            inbox = self._under_way.pop((host, port)).inbox
        inbox.put(answer)
