"""Files of scalars as TensorBoard reads them, written without TensorBoard.

An event file is a TFRecord file: for each record its length (8 bytes), a checksum of these, the
record and a checksum of it (4 bytes each), all little-endian. A record is an ``Event`` in the
encoding of Protocol Buffers; of its fields these are written::

    Event    wall_time = 1: double, step = 2: int64, file_version = 3: string, summary = 5: Summary
    Summary  value = 1: Value, repeated
    Value    tag = 1: string, simple_value = 2: float

(tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto and
tensorflow/core/lib/io/record_writer.h say so.) That is little enough to do without a package that
would bring a web server and ten more packages along to every machine that searches.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
"""Wire types of Protocol Buffers."""

_CASTAGNOLI = 0x82F63B78
"""The polynomial of CRC-32C (RFC 3720, appendix B.4), its bits reversed."""


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_TABLE = _table()


def crc32c(content: bytes) -> int:
    """The CRC-32C of some bytes."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def record(event: bytes) -> bytes:
    """An event as a record of the file."""
    length = struct.pack("<Q", len(event))
    return length + _masked(length) + event + _masked(event)


def version(wall_time: float) -> bytes:
    """The event that every file begins with.

    Args:
        wall_time: Seconds since 1970 (UTC).
    """
    return _field(1, _DOUBLE, struct.pack("<d", wall_time)) + _text(3, b"brain.Event:2")


def scalars(wall_time: float, step: int, values: Mapping[str, float]) -> bytes:
    """An event that holds a number for each tag.

    Args:
        wall_time: Seconds since 1970 (UTC).
        step: Where they stand on the axis; from 0 up.
        values: By tag; what exceeds single precision becomes infinite.
    """
    summary = b"".join(
        _text(1, _text(1, tag.encode()) + _field(2, _FLOAT, _float(value)))
        for tag, value in values.items()
    )
    head = _field(1, _DOUBLE, struct.pack("<d", wall_time)) + _field(2, _VARINT, _varint(step))
    return head + _text(5, summary)


def _float(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, value))


def _masked(content: bytes) -> bytes:
    """The checksum as the format has it: rotated and shifted, since what it covers may hold one."""
    crc = crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _field(number: int, wire: int, content: bytes) -> bytes:
    return bytes([number << 3 | wire]) + content


def _text(number: int, content: bytes) -> bytes:
    return _field(number, _BYTES, _varint(len(content)) + content)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
