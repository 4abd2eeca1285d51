"""Whether the server accepts compressed requests."""

from __future__ import annotations

from typing import Final

_FIRST_PAUSE: Final = 4
_MAX_PAUSE: Final = 4096
"""Uploads that are uncompressed after one succeeded only uncompressed."""


class GzipSupport:
    """
    Learns from uploads whether the server, or a proxy in between, objects to compressed requests.

    Few of them say so. Some servers take a compressed body for bad JSON, a firewall forbids bodies that it cannot
    read, others reset the connection. So whatever the failure of a compressed request was, the next request is
    uncompressed, and after that they alternate. If an uncompressed one succeeds, the following uploads are
    uncompressed too, more of them each time. The number begins small, since the network may have been the cause.

    Attributes:
        proven: Whether a compressed request has succeeded, and none has failed since that succeeded uncompressed.
    """

    def __init__(self) -> None:
        self._refused = False
        self.proven = False
        self._suspected = False
        self._plain_next = False
        self._pause = 0
        self._next_pause = _FIRST_PAUSE

    @property
    def expected(self) -> bool:
        """Whether the next request may be compressed."""
        return not (self._refused or self._plain_next or self._pause)

    def refused(self) -> None:
        """Note that the server says that it accepts none. No further request is compressed."""
        self._refused = True

    def failed(self, *, compressed: bool) -> bool:
        """
        Note that a request failed.

        Returns:
            Whether to send it again at once, uncompressed, since no compressed request has succeeded yet.
        """
        self._plain_next = compressed
        self._suspected |= compressed
        return compressed and not self.proven

    def succeeded(self, *, compressed: bool) -> None:
        """Note that a request succeeded."""
        if compressed:
            self.proven = True
            self._next_pause = _FIRST_PAUSE
        elif self._suspected:
            self.proven = False
            self._pause = self._next_pause
            self._next_pause = min(2 * self._next_pause, _MAX_PAUSE)
        elif self._pause:
            self._pause -= 1
        self._suspected = self._plain_next = False
