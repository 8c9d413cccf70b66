"""Labelled sequences in a table, one in each row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workers.tasks.errors import TaskError
from workers.tasks.sequences import Sequences, refuse_many
from workers.tasks.tables import Table


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


def parse_rows(table: Table, layout: Layout) -> Sequences:
    """Reads one sequence from each row.

    Raises:
        TaskError: The columns do not fit the layout, or a cell is wrong; names row and column.
    """
    label = layout.label if layout.label is not None else list(table.columns)[-1]
    refuse_many(table.path, table.rows, table.rows * (len(table.columns) - 1))
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
    filled = len(names) - np.argmin(empty[:, ::-1], axis=1)
    filled[empty.all(axis=1)] = 0
    inside = np.arange(len(names)) < filled[:, None]
    gaps = empty & inside
    wrong = gaps.any(axis=1) | (filled == 0) | (filled % layout.features != 0)
    if wrong.any():
        row = int(wrong.argmax())
        if gaps[row].any():
            name = names[int(gaps[row].argmax())]
            raise TaskError(
                f"{table.path}: row {row + 1}, column {name!r} is empty, but later cells are not; "
                "only the end of a row may be empty."
            )
        raise TaskError(
            f"{table.path}: row {row + 1} has {filled[row]} values, not a positive multiple of "
            f"features = {layout.features}."
        )
    rows = values[inside].reshape(-1, layout.features)
    return Sequences(table.path, rows, filled // layout.features, labels, table.content)
