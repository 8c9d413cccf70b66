"""Labelled sequences of unequal lengths, as the readers of classification data return them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.errors import TaskError
from workers.tasks.files import format_of, read_bytes
from workers.tasks.tables import TABLE_FORMATS, Table, read_table

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
        return self.values[0].shape[1]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table holds sequences, one in each row.

    Attributes:
        label: Name of the label column; None: the last one.
        features: Values per step. The value columns are step by step: with 2 features
            x1, y1, x2, y2, … A shorter sequence leaves the cells at the end of its row empty.
        delimiter: See :func:`workers.tasks.tables.read_table`; likewise the rest.
        header: Whether a CSV names its columns.
        skip_lines: Lines before a CSV's table.
    """

    label: str | None
    features: int
    delimiter: str | None
    header: bool
    skip_lines: int


def read_sequences(path: str, layout: Layout) -> Sequences:
    """Reads ``.npz``, ``.ts``, CSV or Parquet, told by the suffix; ``.gz`` and ``.xz`` too.

    Raises:
        TaskError: The file is none of these, or something in it is wrong.
    """
    # imported here, as these import Sequences from this module
    from workers.tasks.npz_format import parse_npz
    from workers.tasks.ts_format import parse_ts

    found = format_of(path)
    if found in TABLE_FORMATS:
        table = read_table(
            path,
            delimiter=layout.delimiter,
            header=layout.header,
            skip_lines=layout.skip_lines,
        )
        sequences = _from_table(table, layout)
    elif found == ".npz":
        sequences = parse_npz(read_bytes(path), path)
    elif found == ".ts":
        sequences = parse_ts(read_bytes(path), path)
    else:
        raise TaskError(
            f"{path}: the suffix {found!r} tells no known format. Known: .npz, .ts, "
            f"{', '.join(TABLE_FORMATS)}, each also with .gz or .xz."
        )
    if not sequences.values:
        raise TaskError(f"{path}: there are no sequences in it.")
    return sequences


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
    """The distinct labels: by value if all are whole numbers, else by alphabet."""
    distinct = set(labels)
    if all(label.removeprefix("-").isdecimal() for label in distinct):
        return sorted(distinct, key=lambda label: (int(label), label))
    return sorted(distinct)


def _from_table(table: Table, layout: Layout) -> Sequences:
    label = layout.label if layout.label is not None else list(table.columns)[-1]
    labels = table.texts(label)
    names = [name for name in table.columns if name != label]
    if not names or len(names) % layout.features:
        hint = " Is the delimiter right?" if len(names) <= 1 else ""
        raise TaskError(
            f"{table.path}: {len(names)} value columns beside the label {label!r} cannot be cut "
            f"into steps of {layout.features} features. Set the options features and label.{hint}"
        )
    columns = [table.numbers(name) for name in names]
    values = np.stack([column for column, _ in columns], axis=1)
    empty = np.stack([missing for _, missing in columns], axis=1)
    filled = len(names) - np.cumprod(empty[:, ::-1], axis=1).sum(axis=1)
    sequences = []
    for row in range(table.rows):
        inside = empty[row, : filled[row]]
        if inside.any():
            name = names[int(inside.argmax())]
            raise TaskError(
                f"{table.path}: row {row + 1}, column {name!r} is empty, but later cells are not; "
                "only the end of a row may be empty."
            )
        if not filled[row] or filled[row] % layout.features:
            raise TaskError(
                f"{table.path}: row {row + 1} has {filled[row]} values, not a positive multiple "
                f"of features = {layout.features}."
            )
        sequences.append(values[row, : filled[row]].reshape(-1, layout.features))
    return Sequences(table.path, sequences, labels, table.content)
