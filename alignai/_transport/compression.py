"""Whether compressing a body is worth its time."""

from __future__ import annotations

import gzip
from typing import Final

_WORTH_COMPRESSING: Final = 1024
_LEVEL: Final = 1  # half as fast again as level 3 on short texts, and hardly larger
_TRIAL_EVERY: Final = 64
_FIRST_TRIAL: Final = 3
_NOTICEABLE: Final = 0.2
_CLEARLY: Final = 0.8
_WEIGHT: Final = 0.25
"""Of the newest upload, in the average of them."""


def compress(body: bytes) -> bytes:
    """*body*, gzipped."""
    return gzip.compress(body, _LEVEL, mtime=0)


class Compression:
    """
    Compresses, but for a server so near that this takes longer than it saves.

    While compressing is a noticeable part of uploads, one in a while goes plain; while that is clearly faster, so do
    the others, until the next comparison. Over a line that has a bandwidth worth mentioning it never is.
    """

    def __init__(self) -> None:
        self._uploads = 0
        self._trial_at = _FIRST_TRIAL
        self._share = 0.0
        self._seconds_per_byte: dict[bool, float] = {}

    def wanted(self, size: int) -> bool:
        """Whether a body of *size* bytes, to be uploaded now, is to be compressed."""
        if size <= _WORTH_COMPRESSING:
            return False
        is_trial = self._share >= _NOTICEABLE and self._uploads >= self._trial_at
        if is_trial:
            self._trial_at = self._uploads + _TRIAL_EVERY
        return self._plain_is_faster() == is_trial

    def took(self, size: int, compressing: float, whole: float) -> None:
        """Note an upload of *size* bytes: its seconds, and those of compressing, 0 where it went plain."""
        if size <= _WORTH_COMPRESSING:
            return
        self._uploads += 1
        if self._uploads == 1:  # it has made the connection, too
            return
        compressed = compressing > 0
        pace = whole / size
        self._seconds_per_byte[compressed] = _average(self._seconds_per_byte.get(compressed, pace), pace)
        if compressed:
            self._share = _average(self._share, compressing / whole)

    def _plain_is_faster(self) -> bool:
        pace = self._seconds_per_byte
        return False in pace and pace[False] < _CLEARLY * pace.get(True, 0.0)


def _average(before: float, newest: float) -> float:
    return before + _WEIGHT * (newest - before)
