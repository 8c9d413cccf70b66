"""Whole columns of a record as arrays: texts numbered, rows found, sums taken by group."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evo_nas.errors import LineageError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NONE = -1
"""Where a column of integers has no value."""


def coded(column: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Texts as numbers, counted in the order in which they come up; and the texts."""
    numbered = column.combine_chunks().dictionary_encode()
    return numbered.indices.to_numpy().astype(np.int64), numbered.dictionary


def rows_of(births: Ints, wanted: Ints) -> Ints:
    """Where each wanted birth stands among ``births`` (ascending); `NONE` if nowhere."""
    if not len(births):
        return np.full(len(wanted), NONE)
    rows = np.minimum(np.searchsorted(births, wanted), len(births) - 1)
    return np.where(births[rows] == wanted, rows, NONE)


def spread(count: int, rows: Ints, values: npt.NDArray[Any], missing: float) -> npt.NDArray[Any]:
    """The values at their rows of a column of ``count``, and what stands where none is."""
    column = np.full(count, missing, values.dtype)
    column[rows] = values
    return column


def refuse_repeats(birth: Ints, asked_at: Ints, told_birth: Ints, told_at: Ints) -> None:
    """A birth is asked for once and told once at most.

    Args:
        birth: (N,) births asked for; ``asked_at`` their places in the record.
        told_birth: (T,) births told; ``told_at`` their places.

    Raises:
        LineageError: Naming the first that came again.
    """
    found: list[tuple[int, str]] = []
    for values, at, what in ((birth, asked_at, "born"), (told_birth, told_at, "told")):
        again = np.ones(len(values), bool)
        again[np.unique(values, return_index=True)[1]] = False
        found += [(int(at[k]), f"{values[k]} was {what} twice") for k in np.flatnonzero(again)[:1]]
    if found:
        raise LineageError(f"the record contradicts itself: {min(found)[1]}.")


def parent_rows(birth: Ints, column: pa.ChunkedArray) -> Ints:
    """The row of each parent among the births (ascending); `NONE` where there is none.

    Raises:
        LineageError: If a parent was not born before its child.
    """
    has = column.is_valid().to_numpy()
    wanted = column.fill_null(NONE).to_numpy()
    rows = rows_of(birth, wanted)
    wrong: Ints = np.flatnonzero(has & ((rows == NONE) | (wanted >= birth)))
    if len(wrong):
        raise LineageError(
            f"the record contradicts itself: the parent of {birth[wrong[0]]} is "
            f"{wanted[wrong[0]]}, which was not born before it."
        )
    return np.where(has, rows, NONE)


def group_means(cell: Ints, fitness: Floats, cells: int) -> tuple[Floats, Ints]:
    """Mean fitness of each cell (NaN if none), and over how many evaluations.

    Args:
        cell: (N,) numbers below ``cells``.
        fitness: (N,) NaN where there is none.
        cells: D.
    """
    scored = ~np.isnan(fitness)
    cell, fitness = cell[scored], fitness[scored]
    counts = np.bincount(cell, minlength=cells)
    sums = np.bincount(cell, fitness, cells)
    # Two numbers add up to the nearest of their sum; more are summed exactly, in whatever order.
    order = np.argsort(cell, kind="stable")
    ends = np.cumsum(counts)
    for k in np.flatnonzero(counts > 2):
        sums[k] = math.fsum(fitness[order[ends[k] - counts[k] : ends[k]]].tolist())
    means = np.full(cells, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means, counts
