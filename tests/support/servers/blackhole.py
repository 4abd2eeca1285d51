"""Connections and addresses that ignore all packets, as a middlebox does that has forgotten a connection."""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_SO_ATTACH_FILTER = 26
_RETURN_0 = struct.pack("HBBI", 0x06, 0, 0, 0)  # a BPF program: of each packet, keep nothing


def swallow(sock: socket.socket) -> None:
    """Drop all packets that come for *sock* from now on, unacknowledged."""
    program = ctypes.create_string_buffer(_RETURN_0)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
    except OSError as error:
        pytest.skip(f"this system has no packet filters for sockets: {error}")


@contextmanager
def unanswered_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port to which no connection is ever made, and none refused."""
    with socket.create_server((host, 0)) as listener:
        swallow(listener)
        yield listener.getsockname()[1]
