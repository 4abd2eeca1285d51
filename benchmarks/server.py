"""
Serve a port that takes everything, as fast as Python can: `python benchmarks/server.py 0 20 100`.

The server listens on a port for each latency in milliseconds, prints the ports as a JSON list, and ends with its stdin.
It responds to a POST with `{}`, and to a GET with the numbers of requests and of body bytes that the port has received.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from contextlib import suppress

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
_CHUNK = 1 << 18


class Port:
    """One listening port, and counts of the requests and bytes that it has received."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._requests = 0
        self._bytes = 0
        self._counting = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.number = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            received = b""
            while True:
                while b"\r\n\r\n" not in received:
                    more = connection.recv(_CHUNK)
                    if not more:
                        return
                    received += more
                head, _, received = received.partition(b"\r\n\r\n")
                received = self._answer(connection, head, received)

    def _answer(self, connection: socket.socket, head: bytes, received: bytes) -> bytes:
        """Read the body, which begins with *received*, and respond. Return the bytes after the body."""
        if head.startswith(b"GET"):
            body = json.dumps({"requests": self._requests, "bytes": self._bytes}).encode()
            connection.sendall(_ANSWER % (len(body), body))
            return received
        length = _content_length(head)
        pieces = len(received)
        while pieces < length:
            more = connection.recv(_CHUNK)
            if not more:
                return b""
            pieces += len(more)
            received = more
        with self._counting:
            self._requests += 1
            self._bytes += length
        if self._latency:
            time.sleep(self._latency)
        connection.sendall(_ANSWER % (2, b"{}"))
        return received[len(received) - (pieces - length) :]


def _content_length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)


def main() -> None:
    ports = [Port(float(argument) / 1000) for argument in sys.argv[1:]]
    print(json.dumps([port.number for port in ports]), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
