"""What a request delivers, as a server reads it."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import NamedTuple

from tests.support.servers.raw import body, header


class Delivery(NamedTuple):
    """A request that was stored: its id, of each event the id and the checksum of what it says, and its key."""

    request_id: str
    events: tuple[tuple[str, int], ...]
    key: str | None


def parsed(request: bytes) -> Delivery:
    """What a request as received delivers."""
    content = body(request)
    if header(request, "content-encoding") == "gzip":
        content = gzip.decompress(content)
    found = json.loads(content)
    events = tuple(
        (event["id"], checksum(event["properties"]["messageProperties"]["messageContent"])) for event in found["events"]
    )
    return Delivery(found["requestId"], events, header(request, "authorization"))


def checksum(text: str) -> int:
    """What a message is known by."""
    return zlib.crc32(text.encode())
