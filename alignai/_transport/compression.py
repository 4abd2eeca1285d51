"""The decision whether to compress a body."""

from __future__ import annotations

import gzip
from typing import Final

_MIN_COMPRESSED_BYTES: Final = 1024
_LEVEL: Final = 1  # half as fast again as level 3 on short texts, and hardly larger
_TRIAL_EVERY: Final = 64
_FIRST_TRIAL: Final = 3
_MIN_COST_SHARE: Final = 0.2
_CLEAR_WIN_RATIO: Final = 0.8
_WEIGHT: Final = 0.25
"""The weight of the newest upload in the average."""


def compress(body: bytes) -> bytes:
    """Return *body*, gzipped."""
    return gzip.compress(body, _LEVEL, mtime=0)


class Compression:
    """
    Compresses, unless the server is so near that this takes longer than it saves.

    If compression takes at least 20 % of the upload time, every 64th upload is sent uncompressed for comparison. If
    that is clearly faster, the following uploads are uncompressed too, until the next comparison. If the network has a
    limited bandwidth, uncompressed uploads never are.
    """

    def __init__(self) -> None:
        self._uploads = 0
        self._trial_at = _FIRST_TRIAL
        self._share = 0.0
        self._seconds_per_byte: dict[bool, float] = {}

    def wanted(self, size: int) -> bool:
        """Return True if a body of *size* bytes is to be compressed for the upload that comes now."""
        if size <= _MIN_COMPRESSED_BYTES:
            return False
        is_trial = self._share >= _MIN_COST_SHARE and self._uploads >= self._trial_at
        if is_trial:
            self._trial_at = self._uploads + _TRIAL_EVERY
        return self._plain_is_faster() == is_trial

    def took(self, size: int, compressing: float, whole: float) -> None:
        """Note an upload of *size* bytes: its seconds, and the seconds of compressing, 0 if it was uncompressed."""
        if size <= _MIN_COMPRESSED_BYTES:
            return
        self._uploads += 1
        if self._uploads == 1:  # it made the connection, too
            return
        compressed = compressing > 0
        pace = whole / size
        self._seconds_per_byte[compressed] = _average(self._seconds_per_byte.get(compressed, pace), pace)
        if compressed:
            self._share = _average(self._share, compressing / whole)

    def _plain_is_faster(self) -> bool:
        pace = self._seconds_per_byte
        return False in pace and pace[False] < _CLEAR_WIN_RATIO * pace.get(True, 0.0)


def _average(before: float, newest: float) -> float:
    return before + _WEIGHT * (newest - before)
