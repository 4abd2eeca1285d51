"""Sets of row numbers, kept as ranges."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ranges:
    """A set of numbers, kept as ranges. There are few ranges, however many numbers there are."""

    def __init__(self, ranges: Iterator[tuple[int, int]]) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:  # sorted
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(last, self._lasts[-1])
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    @property
    def last(self) -> int:
        """The highest number, or 0 if there is none."""
        return self._lasts[-1] if self._lasts else 0

    def count(self, first: int, last: int) -> int:
        """Return how many of the numbers are between *first* and *last*, both included."""
        bounds = zip(self._firsts, self._lasts, strict=True)
        return sum(max(0, min(end, last) - max(begin, first) + 1) for begin, end in bounds)
