"""To how many bytes a file may unpack: what it costs is bounded by its size as it lies on disk."""

from __future__ import annotations

MAX_BYTES = 4 * 2**30
"""A file that has or unpacks to more is refused before it fills the memory."""
ALWAYS_UNPACKED = 64 * 2**20
"""Bytes that even the smallest file may unpack to."""
MOST_PACKED = 100
"""How many bytes one byte of a larger file may stand for. Text and tables are packed 3 to 20 times
as small; what unpacks to 1000 times its size was made to fill a memory."""


def most_unpacked(size: int) -> int:
    """Bytes that a file of ``size`` bytes may unpack to."""
    return min(MAX_BYTES, max(ALWAYS_UNPACKED, MOST_PACKED * size))
