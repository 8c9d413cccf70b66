"""What the pages of a Parquet file say of their own sizes, read without unpacking one.

pyarrow unpacks a page to whatever size its header names, and of some damaged footers it ends the
whole process if asked for a column's sizes. So both are read here, in Thrift's compact protocol: as
much of it as a walk from page to page takes (parquet.thrift of the Apache Parquet format).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_FOOTER = 8
"""Bytes at the end: the length of the footer, and ``PAR1``."""
_DEEPEST = 32
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)


class NotParquet(ValueError):
    """The bytes are no footer or page header."""


class _Reader:
    """Reads values of the compact protocol from a position on."""

    def __init__(self, content: memoryview, at: int) -> None:
        self._content, self.at = content, at

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct by their numbers."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._zigzag()
            fields[number] = self._value(kind, depth) if kind > _FALSE else kind == _TRUE
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise NotParquet("it is nested too deeply")
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._item(head & 15, depth + 1) for _ in range(self._counted(count))]
        if kind == _BYTE:
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise NotParquet(f"a value is of the unknown type {kind}")

    def _item(self, kind: int, depth: int) -> Any:
        return self._byte() if kind in (_TRUE, _FALSE) else self._value(kind, depth)

    def _counted(self, count: int) -> int:
        if count > len(self._content) - self.at:  # each item takes a byte at least
            raise NotParquet("a list ends beyond the file")
        return count

    def _byte(self) -> int:
        if not 0 <= self.at < len(self._content):
            raise NotParquet("it ends too early")
        self.at += 1
        return self._content[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        self.at += self._counted(count)
        return bytes(self._content[self.at - count : self.at])

    def _varint(self) -> int:
        first = self._byte()
        if first < 128:  # nearly all of them
            return first
        value, shift = first & 127, 7
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise NotParquet("a number has too many bytes")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def unpacked_bytes(content: bytes) -> int:
    """The sum of the sizes to which the pages of a file unpack, as their headers have it.

    Raises:
        NotParquet: If they cannot be followed: a reader would have to guess as well.
    """
    view = memoryview(content)
    if len(view) < _FOOTER + 4 or content[-4:] != b"PAR1" or content[:4] != b"PAR1":
        raise NotParquet("it does not begin and end with PAR1")
    length = int.from_bytes(view[-_FOOTER:-4], "little")
    if length > len(view) - _FOOTER:
        raise NotParquet("its footer is larger than the file")
    footer = _Reader(view, len(view) - _FOOTER - length).struct()
    total = 0
    try:
        for group in footer[4]:
            for chunk in group[1]:
                total += sum(_pages(view, chunk[3]))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise NotParquet(f"its footer lacks something: {error!r}") from None
    return total


def _pages(view: memoryview, column: dict[int, Any]) -> Iterator[int]:
    """The size of each page of a column; 7 is its packed size, 9 and 11 where its pages begin."""
    first = min(column[9], column[11]) if column.get(11, 0) > 0 else column[9]
    at, end = first, first + column[7]
    if not 4 <= at <= end <= len(view):
        raise NotParquet("a column lies outside the file")
    while at < end:
        reader = _Reader(view, at)
        header = reader.struct()
        unpacked, packed = header[2], header[3]
        if min(unpacked, packed) < 0:
            raise NotParquet("a page has a negative size")
        yield unpacked
        at = reader.at + packed
