"""A server that is slow, fails before or after it accepts events, and is away for a while."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from tests.faults.kill.worker import POISON
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.servers.connect import ConnectServer, Request

FAILURES = (Code.UNAVAILABLE, Code.ABORTED, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.INTERNAL)


class FaultyServer:
    """
    The behaviour of a server until `calm`.

    It always refuses poison and requests of more than *most* events.

    Args:
        server: The server.
        seed: The source of its random behaviour.
        failing: The fraction of requests that fail, half of them after the events were accepted.
        away: The fraction of the time in which it cannot be reached.
        most: The maximum number of events in a request.
    """

    def __init__(self, server: ConnectServer, seed: str, *, failing: float, away: float, most: int) -> None:
        self._server = server
        self._rng = random.Random(seed)
        self._failing = failing
        self._away = away
        self._most = most
        self._lock = threading.Lock()
        self._calm = threading.Event()
        self._hours = threading.Thread(target=self._come_and_go, name="faulty-server", daemon=True)
        self.downtimes = 0
        server.respond = self._respond

    def __enter__(self) -> Self:
        self._hours.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.calm()

    def calm(self) -> None:
        """Keep the server up from now on, with no failures but the permanent refusals."""
        self._calm.set()
        self._hours.join()
        wait_until(self._back)

    def _respond(self, request: Request) -> None:
        if len(request.events) > self._most:
            raise ConnectError(Code.RESOURCE_EXHAUSTED, "message is larger than configured max")
        if any(_said(event).startswith(POISON) for event in request.events):
            raise ConnectError(Code.INVALID_ARGUMENT, "poison")
        if self._calm.is_set():
            return
        with self._lock:
            fails, taken, code = (
                self._rng.random() < self._failing,
                self._rng.random() < 0.5,
                self._rng.choice(FAILURES),
            )
            before, after = self._rng.expovariate(200), self._rng.expovariate(200)
        self._server.stopping.wait(before)
        request.taken = taken or not fails
        self._server.stopping.wait(after)
        if fails:
            raise ConnectError(code, "taken" if taken else "not taken")

    def _come_and_go(self) -> None:
        rng = random.Random(self._rng.random())
        while not self._calm.wait(rng.expovariate(4) * (1 - self._away)):
            with suppress(OSError):  # a connection of another process may have taken the port for a moment
                self._server.stop()
            self.downtimes += 1
            self._calm.wait(rng.expovariate(4) * self._away)
            wait_until(self._back)

    def _back(self) -> bool:
        try:
            self._server.start()
        except OSError:
            return False
        return True


def _said(event: dict[str, Any]) -> str:
    text: str = event["properties"].get("messageProperties", {}).get("messageContent", "")
    return text
