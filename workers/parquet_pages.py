"""What the pages of a Parquet file say of their own sizes, read without unpacking one.

pyarrow unpacks a page to whatever size its header names, and of some damaged footers it ends the
whole process if asked for a column's sizes. So both are read here, in Thrift's compact protocol: as
much of it as a walk from page to page takes (parquet.thrift of the Apache Parquet format). A run
may have hundreds of small files, so this is written to be quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_FOOTER = 8
"""Bytes at the end: the length of the footer, and ``PAR1``."""
_DEEPEST = 32
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_LARGEST_INTEGER_KIND = 6

Fields = dict[int, Any]


class NotParquet(ValueError):
    """The bytes are no footer or page header."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a file says of itself.

    Attributes:
        rows: How many it has.
        unpacked: Bytes to which its pages unpack, together.
    """

    rows: int
    unpacked: int


def sizes_of(content: bytes) -> Sizes:
    """The sizes that footer and page headers of a file have.

    Raises:
        NotParquet: If they cannot be followed: a reader would have to guess as well.
    """
    if len(content) < _FOOTER + 4 or content[-4:] != b"PAR1" or content[:4] != b"PAR1":
        raise NotParquet("it does not begin and end with PAR1")
    length = int.from_bytes(content[-_FOOTER:-4], "little")
    if length > len(content) - _FOOTER:
        raise NotParquet("its footer is larger than the file")
    try:
        footer, _ = _struct(content, len(content) - _FOOTER - length, 0)
        groups = footer[4]
        rows = max(footer[3], sum(group[3] for group in groups))
        columns = [chunk[3] for group in groups for chunk in group[1]]
        return Sizes(rows, sum(sum(_pages(content, column)) for column in columns))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise NotParquet(f"its footer or a page lacks something: {error!r}") from None


def _pages(content: bytes, column: Fields) -> Iterator[int]:
    """The size of each page of a column; 7 is its packed size, 9 and 11 where its pages begin."""
    first = min(column[9], column[11]) if column.get(11, 0) > 0 else column[9]
    at, end = first, first + column[7]
    if not 4 <= at <= end <= len(content):
        raise NotParquet("a column lies outside the file")
    while at < end:
        header, at = _struct(content, at, 0)
        unpacked, packed = header[2], header[3]
        if min(unpacked, packed) < 0:
            raise NotParquet("a page has a negative size")
        yield unpacked
        at += packed


def _struct(content: bytes, at: int, depth: int) -> tuple[Fields, int]:
    """The fields of a struct by their numbers, texts left out, and where it ends.

    Raises:
        IndexError: If it ends beyond the file.
    """
    fields: Fields = {}
    number = 0
    while head := content[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(content, at)
        kind = head & 15
        if kind <= _FALSE:
            fields[number] = kind == _TRUE
        else:
            fields[number], at = _value(content, at, kind, depth)
    return fields, at + 1


def _value(content: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if _BYTE < kind <= _LARGEST_INTEGER_KIND:
        return _integer(content, at)
    if kind == _BINARY:
        length, at = _varint(content, at)
        return None, _within(content, at, length)
    if depth > _DEEPEST:
        raise NotParquet("it is nested too deeply")
    if kind == _STRUCT:
        return _struct(content, at, depth + 1)
    if kind in (_LIST, _SET):
        return _list(content, at, depth + 1)
    if kind in (_BYTE, _DOUBLE):
        return None, _within(content, at, 1 if kind == _BYTE else 8)
    raise NotParquet(f"a value is of the unknown type {kind}")


def _list(content: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    head = content[at]
    at, count, kind = at + 1, head >> 4, head & 15
    if count == 15:
        count, at = _varint(content, at)
    _within(content, at, count)  # each item takes a byte at least
    if kind in (_TRUE, _FALSE):
        return [], at + count
    items = []
    for _ in range(count):
        item, at = _value(content, at, kind, depth)
        items.append(item)
    return items, at


def _within(content: bytes, at: int, count: int) -> int:
    if count > len(content) - at:
        raise NotParquet("a value ends beyond the file")
    return at + count


def _varint(content: bytes, at: int) -> tuple[int, int]:
    byte = content[at]
    at += 1
    if byte < 128:
        return byte, at
    value, shift = byte & 127, 7
    while byte >= 128:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise NotParquet("a number has too many bytes")
    return value, at


def _integer(content: bytes, at: int) -> tuple[int, int]:
    byte = content[at]
    if byte < 128:  # nearly all of them
        return (byte >> 1) ^ -(byte & 1), at + 1
    value, at = _varint(content, at)
    return (value >> 1) ^ -(value & 1), at
