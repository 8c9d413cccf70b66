"""What the pages of a Parquet file say of their own sizes, read without unpacking one.

pyarrow unpacks a page to whatever size its header names, makes as many values of it as that says,
and of some damaged footers it ends the whole process if asked for a column's sizes. So all this is
read here, from page to page (parquet.thrift of the Apache Parquet format).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from workers.thrift import BINARY, INT32, INT64, LIST, STRUCT, NotThrift, Thrift

LARGEST_FOOTER = 100_000_000
"""Bytes; pyarrow reads no larger one either."""
_FOOTER = 8
"""Bytes at the end: the length of the footer, and ``PAR1``."""
_OF_VALUES = (5, 7, 8)
"""Structs of a page header, by the kind of the page, whose field 1 is its number of values."""
_TOO_FAR = tuple(b"parquet-mr version 1.%d." % minor for minor in range(3))
"""Of files by these (until 2013) pyarrow also reads what stands behind a column."""


class NotParquet(ValueError):
    """The bytes are no footer or page header."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a file says of itself.

    Attributes:
        rows: How many it has, by its footer or by its row groups together, whichever is more.
        unpacked: Bytes to which its pages unpack, together.
        values: Of each column without columns of its own, in the file's order: how many its pages
            hold, empty ones and those of dictionaries among them.
    """

    rows: int
    unpacked: int
    values: tuple[int, ...]


def sizes_of(content: bytes) -> Sizes:
    """The sizes that footer and page headers of a file have.

    Raises:
        NotParquet: If they cannot be followed: a reader would have to guess as well.
    """
    if len(content) < _FOOTER + 4 or content[-4:] != b"PAR1" or content[:4] != b"PAR1":
        raise NotParquet("it does not begin and end with PAR1")
    length = int.from_bytes(content[-_FOOTER:-4], "little")
    if length > min(len(content) - _FOOTER, LARGEST_FOOTER):
        raise NotParquet("its footer is larger than the file, or than any")
    walk = _Walk(content)
    try:
        walk.footer(Thrift(content, len(content) - _FOOTER - length))
    except (NotThrift, IndexError) as error:
        raise NotParquet(f"its footer or a page is damaged: {error}") from None
    return Sizes(max(walk.rows, walk.grouped), walk.unpacked, tuple(walk.values))


class _Walk:
    """The sums of what the parts of a file say; each part is forgotten once it is counted."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.rows = self.grouped = self.packed = self.unpacked = 0
        self.values: list[int] = []

    def footer(self, thrift: Thrift) -> None:
        for field in thrift.fields():
            if field == (3, INT64):
                self.rows = thrift.integer(64)
            elif field == (4, LIST):
                for _ in thrift.structs():
                    self._group(thrift)
            elif field == (6, BINARY):
                if thrift.text().startswith(_TOO_FAR):
                    raise NotParquet("it is of a writer too old. Write it anew")
            else:
                thrift.skip(field[1])

    def _group(self, thrift: Thrift) -> None:
        for field in thrift.fields():
            if field == (1, LIST):
                for number, _ in enumerate(thrift.structs()):
                    self._chunk(thrift, number)
            elif field == (3, INT64):
                self.grouped += max(0, thrift.integer(64))
            else:
                thrift.skip(field[1])

    def _chunk(self, thrift: Thrift, column: int) -> None:
        """A column in a row group; 7 is its packed size, 9 and 11 where its pages begin."""
        places = {7: -1, 9: -1, 11: -1}
        for field in thrift.fields():
            if field != (3, STRUCT):
                thrift.skip(field[1])
                continue
            for number, kind in thrift.fields():
                if number in places and kind == INT64:
                    places[number] = thrift.integer(64)
                else:
                    thrift.skip(kind)
        first = min(places[9], places[11]) if places[11] > 0 else places[9]
        self.packed += places[7]
        if not 4 <= first <= first + places[7] <= len(self.content):
            raise NotParquet("a column lies outside the file")
        if self.packed > len(self.content):
            raise NotParquet("its columns together are larger than the file")
        if column == len(self.values):
            self.values.append(0)
        for unpacked, values in _pages(self.content, first, first + places[7]):
            self.unpacked += unpacked
            self.values[column] += values


def _pages(content: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Unpacked size, and number of values, of each page."""
    thrift = Thrift(content, at)
    while thrift.at < end:
        unpacked, packed, values = -1, -1, 0
        for field in thrift.fields():
            if field == (2, INT32):
                unpacked = thrift.integer(32)
            elif field == (3, INT32):
                packed = thrift.integer(32)
            elif field[0] in _OF_VALUES and field[1] == STRUCT:
                for part in thrift.fields():
                    if part == (1, INT32):
                        values = max(values, thrift.integer(32))
                    else:
                        thrift.skip(part[1])
            else:
                thrift.skip(field[1])
        if min(unpacked, packed) < 0:
            raise NotParquet("a page has no size, or a negative one")
        yield unpacked, values
        thrift.at += packed
