"""Compression is left out only if it takes longer than it saves."""

from __future__ import annotations

import gzip

from hypothesis import given
from hypothesis import strategies as st

from alignai._transport.compression import Compression, compress

SIZE = 100_000
COMPRESSING = 1e-3
SENT_COMPRESSED = 0.3
"""Of the bytes of a body."""


def upload(compression: Compression, seconds_for_all_bytes: float, latency: float) -> bool:
    """Simulate one upload over a connection and return True if it was compressed."""
    compressed = compression.wanted(SIZE)
    if compressed:
        compression.took(SIZE, COMPRESSING, COMPRESSING + latency + SENT_COMPRESSED * seconds_for_all_bytes)
    else:
        compression.took(SIZE, 0, latency + seconds_for_all_bytes)
    return compressed


def test_compressed_bodies_can_be_read_back_and_are_deterministic() -> None:
    body = b"hello " * 1000

    assert gzip.decompress(compress(body)) == body
    assert compress(body) == compress(body)


def test_small_bodies_go_plain() -> None:
    compression = Compression()

    assert not compression.wanted(1024)
    assert compression.wanted(1025)


def test_before_anything_is_known_bodies_are_compressed() -> None:
    compression = Compression()

    assert all(upload(compression, seconds_for_all_bytes=1e-5, latency=1e-4) for _ in range(3))


def test_to_a_server_on_this_machine_nearly_all_bodies_go_plain() -> None:
    compression = Compression()
    ways = [upload(compression, seconds_for_all_bytes=1e-5, latency=1e-4) for _ in range(1000)]

    assert sum(ways[100:]) < 900 * 0.03


@given(bandwidth=st.floats(1e5, 5e7), latency=st.floats(5e-3, 1.0))
def test_to_a_server_far_away_nearly_all_bodies_are_compressed(bandwidth: float, latency: float) -> None:
    compression = Compression()
    ways = [upload(compression, SIZE / bandwidth, latency) for _ in range(500)]

    assert sum(ways) > 490


def test_once_compressing_is_a_noticeable_part_it_is_compared_at_once() -> None:
    compression = Compression()
    for _ in range(40):
        upload(compression, seconds_for_all_bytes=1e-5, latency=0.05)
    ways = [upload(compression, seconds_for_all_bytes=1e-5, latency=1e-4) for _ in range(20)]

    assert not all(ways)


def test_bodies_are_compressed_again_if_the_connection_becomes_slow() -> None:
    compression = Compression()
    for _ in range(200):
        upload(compression, seconds_for_all_bytes=1e-5, latency=1e-4)
    ways = [upload(compression, seconds_for_all_bytes=0.1, latency=1e-3) for _ in range(400)]

    assert all(ways[200:])
