"""Which files hold the events of a run: single segments, and rolled files that hold many.

::

    00000512.parquet             segment 512: what one `Record.append` wrote
    00000000-00000511.parquet    segments 0 to 511 in one file, written by a checkpoint

A rolled file exists before the segments in it go, so a folder may hold an event twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from evo_nas.record.paths import RunPath

SEGMENTS = "segments"
"""The folder of a run that holds its events."""

_NAME = re.compile(r"([0-9]{8,})(?:-([0-9]{8,}))?\.parquet")


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A file of events; segments are numbered from 0 without gaps.

    Attributes:
        first: Number of its first segment.
        last: Number of its last; equal to ``first`` for a single segment.
        rolled: Whether a checkpoint wrote it.
    """

    first: int
    last: int
    rolled: bool

    @property
    def name(self) -> str:
        """Its file name."""
        numbers = f"{self.first:08d}-{self.last:08d}" if self.rolled else f"{self.first:08d}"
        return f"{numbers}.parquet"


def number_of(name: str) -> int | None:
    """The number that a name is, in the digits of our names; None if it is something else."""
    return int(name) if name.isascii() and name.isdecimal() else None


def numbered(paths: Iterable[RunPath]) -> list[tuple[int, RunPath]]:
    """The paths whose names are numbers, up to a suffix, with these, in their order."""
    numbers = [(number_of(path.stem), path) for path in paths]
    return sorted(((n, path) for n, path in numbers if n is not None), key=lambda pair: pair[0])


def parts_in(folder: RunPath) -> frozenset[Part]:
    """The files of events in a folder; other files do not count."""
    matches = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return frozenset(
        Part(int(match[1]), int(match[2] or match[1]), match[2] is not None)
        for match in matches
        if match
    )


def segment_count(parts: Iterable[Part]) -> int:
    """One more than the highest number of a segment in the parts."""
    return max((part.last + 1 for part in parts), default=0)


def cover(parts: Iterable[Part]) -> tuple[list[Part], int | None]:
    """Files that hold every segment from 0 on, as few as there are, in order.

    Returns:
        The files, and the first segment that none holds though later ones exist (else None).
    """
    chosen: list[Part] = []
    following = 0
    for part in sorted(parts, key=lambda p: (p.first, -p.last, not p.rolled)):
        if part.first < following:
            continue  # a larger file holds it: a checkpoint rolls up whole files only
        if part.first > following:
            return chosen, following
        chosen.append(part)
        following = part.last + 1
    return chosen, None
