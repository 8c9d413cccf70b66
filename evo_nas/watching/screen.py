"""A block of text that is shown again and again: in place on a terminal, else one after another.

The lines may quote a record: what does not print is escaped in each.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Sequence
from typing import Protocol, TextIO

from genomes.readable import joined, readable


class Screen(Protocol):
    """Shows the present state of something."""

    def show(self, lines: Sequence[str], passing: str, changed: bool) -> None:
        """Show the state.

        Args:
            lines: The state.
            passing: One more line that changes all the time.
            changed: Whether the state is another than the last one.
        """
        ...


class Terminal:
    """Draws over what it drew before, in one write, and erases nothing first: no flicker."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0

    def show(self, lines: Sequence[str], passing: str, changed: bool) -> None:
        """See `Screen`."""
        size = shutil.get_terminal_size()
        wanted = [readable(line) for line in (passing, *lines)]
        # A line that wraps, or scrolls out above, could not be drawn over.
        room = max(2, size.lines - 1)
        if len(wanted) > room:
            hidden = len(wanted) - room + 1
            wanted = [*wanted[: room - 1], f"... {hidden} more lines in a taller window"]
        shown = "".join(f"{cut(line, size.columns - 1)}\x1b[K\n" for line in wanted)
        up = f"\x1b[{self._drawn}A\r" if self._drawn else ""
        self._stream.write(f"{up}{shown}\x1b[J")
        self._stream.flush()
        self._drawn = len(wanted)


def cut(line: str, columns: int) -> str:
    """As much of a line as fits into some columns of a terminal.

    A Chinese character or a picture takes two (Unicode Standard Annex 11), a combining mark none.
    """
    if line.isascii():
        return line[:columns]
    for at, character in enumerate(line):
        if not unicodedata.combining(character):
            columns -= 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if columns < 0:
            return line[:at]
    return line


class Blocks:
    """Writes a block when something changed, with an empty line after it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, lines: Sequence[str], passing: str, changed: bool) -> None:
        """See `Screen`."""
        if changed:
            self._stream.write(joined([passing, *lines]) + "\n\n")
            self._stream.flush()
