"""
A server that answers as no healthy server does, and remembers the requests that it stored.

Its answer does not depend on whether it stores the request, except that it never accepts a request without storing it.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
import threading
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from alignai._delivery.batch_size import MIN_LIMIT_BYTES
from tests.faults.network.delivery import Delivery, parsed, uncompressed
from tests.faults.network.obstacles import read_slowly
from tests.support.servers.raw import OK, gone, http, is_whole, read_request, reset, silence, trickle

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from tests.faults.network.obstacles import Middlebox

MAX_INTERNAL_ERRORS = 8
"""The maximum number of internal errors for one request. After ten an SDK isolates the events, and rightly."""

FAILURES = {"internal": 500, "unknown": 500, "data_loss": 500, "unavailable": 503, "aborted": 409, "canceled": 499}
LIMITS = {"deadline_exceeded": 504, "resource_exhausted": 429, "unauthenticated": 401, "permission_denied": 403}
STATUSES = (300, 304, 401, 403, 404, 407, 408, 415, 425, 429, 499, 500, 501, 502, 503, 504, 599)
RETRY_AFTER = ("0", "1", "0.3", "nan", "-5", "soon", "Mon, 23 Nov 2026 09:47:02 GMT", None)
REDIRECTS = (301, 302, 303, 307, 308)

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_PAGE = b"<html><body>Please log in to the network</body></html>"
_BOMB = gzip.compress(b'{"x":"' + b"a" * 30_000_000 + b'"}')
_NO_OBJECTS = (b"[]", b"null", b"1", b'"taken"', b"", b"[" * 9000)
_GIANT = b'{"x":"' + b"a" * 500_000 + b'"}'


class NetworkFaults:
    """
    The script of a `RawServer` that does not read by itself.

    Args:
        seed: The source of all randomness.
        elsewhere: The target of redirects.
        tls: If the server uses TLS, its context and one whose certificate is not trusted.
        middlebox: A middlebox that refuses some requests all the time.

    Attributes:
        fault_rate: The fraction of requests that meet a fault.
        too_large: If true, requests are refused for their size.
        taken: The stored requests in order, including repeats.
        met: The number of faults that the client met, by name.
    """

    def __init__(
        self,
        seed: str,
        elsewhere: str,
        tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
        middlebox: Middlebox | None = None,
    ) -> None:
        self.fault_rate = 0.0
        self.too_large = False
        self.taken: list[Delivery] = []
        self.met: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._elsewhere = elsewhere
        self._tls = tls
        self.middlebox = middlebox
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._failed: Counter[str] = Counter()
        self._answers = self._bad_answers()

    def serve(self, conn: socket.socket, _: bytes, __: int) -> None:
        """Serve one connection until it is of no more use."""
        if self._draw(0.3):
            self._turn_away(conn)
        elif not self._tls:
            self._go_on(conn)
        else:
            # A copy of the socket is wrapped, since the server closes connections by the original.
            with closing(self._tls[0].wrap_socket(conn.dup(), server_side=True)) as secure:
                self._go_on(secure)

    def _turn_away(self, conn: socket.socket) -> None:
        """Cause a fault before a request is read."""
        faults: dict[str, Callable[[], object]] = {
            "reset at once": lambda: reset(conn, b"", 0),
            "reset mid-request": lambda: (conn.recv(self._rng.randint(1, 400)), reset(conn, b"", 0)),
            "nothing read": lambda: gone(conn, 0.5),
            "answered unasked": lambda: conn.sendall(http(503, b"{}")),
            "answered early": lambda: (conn.recv(200), conn.sendall(http(503, b"{}")), silence(conn, b"", 0)),
            "answered early and closed": lambda: (conn.recv(200), conn.sendall(http(401, b"{}"))),
        }
        if self._tls:
            faults["bad certificate"] = lambda: (
                self._tls and self._tls[1].wrap_socket(conn.dup(), server_side=True).close()
            )
            faults["plain text in TLS"] = lambda: conn.sendall(http(400, _PAGE, "text/html"))
        name = self._rng.choice(list(faults))
        self.met[name] += 1
        with suppress(OSError):
            faults[name]()

    def _go_on(self, conn: socket.socket) -> None:
        for number in itertools.count():
            if conn.fileno() < 0 or not is_whole(request := self._read(conn)):
                return
            if self.middlebox and self.middlebox.concerns(request, number):
                self.met[self.middlebox.to] += 1
                self.middlebox.answer(conn, self._status_of(self.middlebox.status, request))
            elif self.too_large:
                self._refuse_size(conn, request)
            elif self._draw():
                self._misbehave(conn, request)
            else:
                self._answer_well(conn, request)

    def _read(self, conn: socket.socket) -> bytes:
        if not self._draw(0.1):
            return read_request(conn)
        self.met["slow connection"] += 1
        return read_slowly(conn)

    def _refuse_size(self, conn: socket.socket, request: bytes) -> None:
        """
        Refuse a request for its size, but not every request.

        One that was stored before is not refused, since its parts would get new request ids. A single event of at least
        the lowest limit of a server is not refused either, since an SDK rejects the event, and rightly.
        """
        delivery = parsed(request)
        with self._lock:
            known = delivery.request_id in self._known
        rejectable = len(delivery.events) == 1 and len(uncompressed(request)) >= MIN_LIMIT_BYTES
        self.met["too large"] += 1
        conn.sendall(http(503 if known or rejectable else 413, _PAGE, "text/html"))

    def _draw(self, part: float = 1.0) -> bool:
        return self._rng.random() < self.fault_rate * part

    def _answer_well(self, conn: socket.socket, request: bytes) -> None:
        again = self._take(request)
        # Some servers recognise a repeat by its request id and answer with a code of its own.
        known = b'{"code":"already_exists","message":"this request was taken before"}'
        good = http(409, known) if again and self._rng.random() < 0.5 else OK
        # Surplus answers come at once. Later ones could not be distinguished from the answer to the next request.
        surplus = self._rng.choice([0, 1, 1000]) if self._draw(0.2) else 0
        self.met["surplus"] += bool(surplus)
        conn.sendall(good + OK * surplus)

    def _take(self, request: bytes) -> bool:
        """Store a request. Return True if it had been stored before."""
        delivery = parsed(request)
        with self._lock:
            self.taken.append(delivery)
            again = delivery.request_id in self._known
            self._known.add(delivery.request_id)
            return again

    def _misbehave(self, conn: socket.socket, request: bytes) -> None:
        name = self._rng.choice(list(self._answers))
        stores = self._rng.random() < 0.5
        self.met[name] += 1
        self.met["taken all the same"] += stores
        if stores:
            self._take(request)
        elif name == "taken late":
            with suppress(OSError):
                gone(conn, 0.5)
            self._take(request)
            return
        self._answers[name](conn, request)

    def _bad_answers(self) -> dict[str, Callable[[socket.socket, bytes], object]]:
        """Return the faulty answers by name."""
        rng = self._rng

        def closing_with(make: Callable[[], bytes]) -> Callable[[socket.socket, bytes], object]:
            return lambda conn, _: (conn.sendall(make()), conn.close())

        def kept_with(make: Callable[[bytes], bytes]) -> Callable[[socket.socket, bytes], object]:
            return lambda conn, request: conn.sendall(make(request))

        def trickling(start: bytes, piece: bytes) -> Callable[[socket.socket, bytes], object]:
            return lambda conn, request: trickle(itertools.repeat(piece), 0.03, start)(conn, request, 0)

        return {
            "reset": lambda conn, request: reset(conn, request, 0),
            "silence": lambda conn, request: silence(conn, request, 0),
            "taken late": lambda conn, request: gone(conn, 0.5),
            "cut off": closing_with(lambda: OK[: rng.randrange(len(OK))]),
            "cut off without a length": closing_with(lambda: _HEAD + b"Connection: close\r\n\r\n{"),
            "head trickles": trickling(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
            "body trickles": trickling(_HEAD + b"Content-Length: 1000\r\n\r\n{", b" "),
            "endless continue": trickling(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
            "endless chunks": trickling(
                _HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b" " * 1024 + b"\r\n"
            ),
            "giant": kept_with(lambda _: http(rng.choice([200, 403, 503]), _GIANT)),
            "gzip bomb": kept_with(lambda _: http(200, _BOMB, content_encoding="gzip")),
            "false gzip": kept_with(lambda _: http(200, b"{}", content_encoding="gzip")),
            "giant head": kept_with(lambda _: b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n{}"),
            "no HTTP": closing_with(lambda: rng.randbytes(rng.choice([1, 30, 3000]))),
            "page": kept_with(lambda _: http(rng.choice([200, 200, 502, 503]), _PAGE, "text/html")),
            "no object": kept_with(
                lambda _: http(200, rng.choice([b"[]", b"null", b"1", b'"taken"', b"", b"[" * 9000]))
            ),
            "length too long": closing_with(lambda: http(200, b"{}", content_length=rng.choice([3, 100]))),
            "length too short": closing_with(lambda: http(200, b"{}", content_length=1)),
            "redirect": kept_with(lambda _: http(rng.choice(REDIRECTS), b"", location=self._elsewhere)),
            "status": kept_with(self._status),
            "code": kept_with(self._code),
        }

    def _status(self, request: bytes) -> bytes:
        status = self._status_of(self._rng.choice(STATUSES), request)
        return http(status, _PAGE, "text/html", retry_after=self._rng.choice(RETRY_AFTER))

    def _status_of(self, status: int, request: bytes) -> int:
        """Return *status*, or 503 if the request has met so many 500s that one more would isolate its events."""
        return 503 if status == 500 and not self._may_fail(request) else status

    def _code(self, request: bytes) -> bytes:
        code, status = self._rng.choice([*FAILURES.items(), *LIMITS.items()])
        if status == 500 and not self._may_fail(request):
            code, status = "unavailable", 503
        content = json.dumps({"code": code, "message": "not now"}).encode()
        return http(status, content, retry_after=self._rng.choice(RETRY_AFTER))

    def _may_fail(self, request: bytes) -> bool:
        """Return True if the server may answer with one more internal error to this request."""
        request_id = parsed(request).request_id
        self._failed[request_id] += 1
        return self._failed[request_id] <= MAX_INTERNAL_ERRORS
