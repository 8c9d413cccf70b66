"""Parquet files written byte by byte: footers and page headers that no writer would write."""

from __future__ import annotations


def varint(number: int, least: int = 1) -> bytes:
    """A number as Thrift's compact protocol has it, in more bytes than it takes if so wished."""
    count = max(least, -(-number.bit_length() // 7))
    return bytes(number >> 7 * k & 127 | 128 * (k < count - 1) for k in range(count))


def page(values: int, unpacked: int = 0, between: bytes = b"") -> bytes:
    """The header of a page without content; ``between`` are fields behind that of its size."""
    sizes = b"\x15\0\x15" + varint(2 * unpacked) + between + b"\x15\0"
    return sizes + b"\x2c\x15" + varint(2 * values) + b"\0\0"


def parquet(pages: bytes, columns: int = 1, rows: int = 1, more: bytes = b"") -> bytes:
    """A file with one row group, all columns of which have the same pages; no schema.

    Args:
        pages: Of each column.
        columns: How many.
        rows: What the row group says; the file says 0.
        more: Fields of the footer, the first after its number 4.
    """
    chunk = b"\x3c\x76" + varint(2 * len(pages)) + b"\x26\x08\0\0"
    group = b"\x19\xfc" + varint(columns) + chunk * columns + b"\x26" + varint(2 * rows) + b"\0"
    footer = b"\x36\0\x19\x1c" + group + more + b"\0"
    return b"PAR1" + pages + footer + len(footer).to_bytes(4, "little") + b"PAR1"
