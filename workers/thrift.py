"""Thrift's compact protocol, read field by field: of what nobody asks for, nothing is built.

Numbers and lengths that another reader would cut to fewer bits are refused, for it would take them
for others. A run may have hundreds of small files with such parts, so this is written to be quick.
"""

from __future__ import annotations

from collections.abc import Iterator

TRUE, FALSE, BYTE, INT16, INT32, INT64, DOUBLE, BINARY, LIST, SET = range(1, 11)
STRUCT = 12
_DEEPEST = 32
_LONGEST = 1_000_000
"""Items of a list; pyarrow reads no longer one either."""
_LARGEST_NUMBER = 2**15 - 1


class NotThrift(ValueError):
    """The bytes are none of the protocol."""


class Thrift:
    """Some bytes, and the place ``at`` from which they are read on.

    All that reads raises `NotThrift`, or IndexError where the bytes end too early.
    """

    __slots__ = ("at", "content")

    def __init__(self, content: bytes, at: int) -> None:
        self.content = content
        self.at = at

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct. Before the next, its value must be read, or be
        left out by `skip`."""
        content, number = self.content, 0
        while head := content[self.at]:
            self.at += 1
            if head >> 4:
                number += head >> 4
            else:
                number = self.integer(16)
            if not 0 < number <= _LARGEST_NUMBER:
                raise NotThrift(f"a field has the number {number}")
            yield number, head & 15
        self.at += 1

    def integer(self, bits: int) -> int:
        """The value of a field of the type INT16, INT32 or INT64."""
        value = self._varint()
        if value >> bits:
            raise NotThrift("a number has too many bits")
        return (value >> 1) ^ -(value & 1)

    def text(self) -> bytes:
        """The value of a field of the type BINARY."""
        length = self._varint()
        start = self.at
        self._pass_over(length)
        return self.content[start : self.at]

    def structs(self) -> Iterator[None]:
        """Once for each item of a list of structs, whose `fields` must then be read to the end."""
        count, kind = self._items()
        if kind != STRUCT and count:
            raise NotThrift("a list holds something else than it should")
        for _ in range(count):
            yield

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over the value of a field of this type."""
        if BYTE < kind <= INT64:
            self._varint()
        elif kind == BINARY:
            self._pass_over(self._varint())
        elif kind in (BYTE, DOUBLE):
            self._pass_over(1 if kind == BYTE else 8)
        elif kind in (TRUE, FALSE):
            pass  # the type is the value
        elif depth > _DEEPEST:
            raise NotThrift("it is nested too deeply")
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        elif kind in (LIST, SET):
            count, inner = self._items()
            if inner in (TRUE, FALSE, BYTE):
                self._pass_over(count)
            else:
                for _ in range(count):
                    self.skip(inner, depth + 1)
        else:
            raise NotThrift(f"a value is of the unknown type {kind}")

    def _items(self) -> tuple[int, int]:
        head = self.content[self.at]
        self.at += 1
        count = head >> 4
        if count == 15:
            count = self._varint()
        if count > min(_LONGEST, len(self.content) - self.at):  # each takes a byte at least
            raise NotThrift("a list is too long, or ends beyond the file")
        return count, head & 15

    def _varint(self) -> int:
        content, at = self.content, self.at
        value = content[at]
        if value >= 128:  # few are
            byte, value, shift = value, value & 127, 0
            while byte >= 128:
                at += 1
                shift += 7
                byte = content[at]
                value |= (byte & 127) << shift
                if shift > 63:
                    raise NotThrift("a number has too many bytes")
        self.at = at + 1
        return value

    def _pass_over(self, count: int) -> None:
        if count > len(self.content) - self.at:
            raise NotThrift("a value ends beyond the file")
        self.at += count
