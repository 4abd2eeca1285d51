"""The contents of a request, as a server reads them."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import NamedTuple

from tests.support.servers.raw import body, header


class Delivery(NamedTuple):
    """A stored request: its id, the id and the checksum of the content of each event, and its key."""

    request_id: str
    events: tuple[tuple[str, int], ...]
    key: str | None


def uncompressed(request: bytes) -> bytes:
    """Return the body of a received request."""
    content = body(request)
    return gzip.decompress(content) if header(request, "content-encoding") == "gzip" else content


def parsed(request: bytes) -> Delivery:
    """Parse a received request."""
    found = json.loads(uncompressed(request))
    events = tuple(
        (event["id"], checksum(event["properties"]["messageProperties"]["messageContent"])) for event in found["events"]
    )
    return Delivery(found["requestId"], events, header(request, "authorization"))


def checksum(text: str) -> int:
    """Return the checksum of a content."""
    return zlib.crc32(text.encode())
