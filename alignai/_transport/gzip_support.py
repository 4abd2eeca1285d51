"""Whether a server takes compressed requests."""

from __future__ import annotations

from typing import Final

_FIRST_PAUSE: Final = 4
_MAX_PAUSE: Final = 4096
"""Uploads that go plain after one got through only when it was not compressed."""


class GzipSupport:
    """
    Learns from uploads whether the server, or anything before it, objects to compressed requests.

    Few say so. Some take a compressed body for bad JSON, a firewall forbids what it cannot read, others reset the
    connection. So whatever goes wrong with a compressed request, the next one goes plain, and after that in turn. If
    it is a plain one that gets through, the following uploads go plain, too, and more of them each time: what failed
    may have been the network.

    Attributes:
        proven: Whether a compressed request has got through, and none has since failed that got through plain.
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
        """Note that the server says it takes none: it is not asked again."""
        self._refused = True

    def failed(self, *, compressed: bool) -> bool:
        """
        Note that a request did not get through.

        Returns:
            Whether to send it once more at once, plain: none has got through compressed yet.
        """
        self._plain_next = compressed
        self._suspected |= compressed
        return compressed and not self.proven

    def succeeded(self, *, compressed: bool) -> None:
        """Note that a request got through."""
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
