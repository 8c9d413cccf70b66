"""Labelled sequences of unequal lengths, as the readers of classification data return them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.tasks.errors import TaskError
from workers.tasks.splits import Indices
from workers.unpacked import ALWAYS_UNPACKED, MOST_PACKED

Floats = npt.NDArray[np.float64]

SEQUENCE_BYTES, VALUE_BYTES = 200, 40
"""About what the making of a task takes; in its file, unpacked, both may have a single byte."""
MOST_GROWN = 8
"""How many bytes a task may take for each byte to which a file of its size may unpack."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences with labels, behind each other.

    Attributes:
        path: For messages.
        rows: ``(sum of lengths, features)``, finite, each row behind the one before in memory.
        lengths: ``(N,)`` of the sequences, in rows.
        labels: The class of each, as text.
        content: The bytes of the file, decompressed.
    """

    path: str
    rows: Floats
    lengths: Indices
    labels: list[str]
    content: bytes

    @property
    def features(self) -> int:
        return int(self.rows.shape[1])

    def keys(self) -> Iterator[memoryview]:
        """What each sequence holds, as the bytes of its values."""
        content = self.rows.data.cast("B")
        ends = np.cumsum(self.lengths) * self.features * self.rows.itemsize
        begin = 0
        for end in ends.tolist():
            yield content[begin:end]
            begin = end


def refuse_many(path: str, sequences: int, values: int) -> None:
    """Refuse what would take very much more memory than its file has bytes, before it does.

    Raises:
        TaskError: The file was packed, and the task would take more than `MOST_GROWN` allows.
    """
    size = SEQUENCE_BYTES * sequences + VALUE_BYTES * values
    most = MOST_GROWN * max(ALWAYS_UNPACKED, MOST_PACKED * os.stat(path).st_size)
    if size > most:
        raise TaskError(
            f"{path}: {sequences:,} sequences with {values:,} numbers take about {size:,} bytes of "
            f"memory; from a file of this size at most {most:,} are used. If that is meant, give "
            "the file unpacked, or fewer sequences."
        )


def check_finite(path: str, rows: Floats, lengths: Indices) -> None:
    """Raises :class:`TaskError` for the first value that is not finite."""
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        row = int(wrong[0])
        ends = np.cumsum(lengths)
        number = int(np.searchsorted(ends, row, side="right"))
        feature = int(np.argmin(np.isfinite(rows[row])))
        raise TaskError(
            f"{path}: sequence {number + 1}, step {row - ends[number] + lengths[number] + 1}, "
            f"feature {feature + 1}: {rows[row, feature]} is not a finite number."
        )


def class_names(labels: Iterable[str]) -> list[str]:
    """The distinct labels: by value if all are whole numbers (of 18 digits at most), else by
    alphabet."""
    distinct = set(labels)
    if all(len(label) < 20 and label.removeprefix("-").isdecimal() for label in distinct):
        return sorted(distinct, key=lambda label: (int(label), label))
    return sorted(distinct)
