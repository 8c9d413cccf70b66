"""Labelled sequences of unequal lengths, as the readers of classification data return them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.errors import TaskError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences with labels.

    Attributes:
        path: For messages.
        values: One ``(length, features)`` array of finite float64 per sequence.
        labels: The class of each, as text.
        content: The bytes of the file, decompressed.
    """

    path: str
    values: list[Floats]
    labels: list[str]
    content: bytes

    @property
    def features(self) -> int:
        return int(self.values[0].shape[1])


def check_finite(path: str, number: int, values: Floats) -> None:
    """Raises :class:`TaskError` for the first value of sequence ``number`` that is not finite."""
    wrong: Any = np.argwhere(~np.isfinite(values))
    if len(wrong):
        step, feature = wrong[0]
        raise TaskError(
            f"{path}: sequence {number}, step {step + 1}, feature {feature + 1}: "
            f"{values[step, feature]} is not a finite number."
        )


def class_names(labels: Iterable[str]) -> list[str]:
    """The distinct labels: by value if all are whole numbers (of 18 digits at most), else by
    alphabet."""
    distinct = set(labels)
    if all(len(label) < 20 and label.removeprefix("-").isdecimal() for label in distinct):
        return sorted(distinct, key=lambda label: (int(label), label))
    return sorted(distinct)
