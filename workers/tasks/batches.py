"""Order and numbers that several kinds of task share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from workers.tasks.errors import TaskError

SCORED_TOGETHER = 64
"""Sequences per scoring batch."""


def shuffled(
    count: int, batch_size: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Batches of indices below ``count`` without end: each once in every ``count`` drawn.

    All batches have ``min(batch_size, count)`` indices, so one may reach into the next pass.
    """
    size = min(batch_size, count)
    waiting = np.empty(0, dtype=np.int64)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(count)])
        yield waiting[:size]
        waiting = waiting[size:]


def scale_of(
    rows: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and deviation of each column of ``(rows, columns)``; a constant column gets 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    # rounding gives a constant 0.1 a deviation of 1e-17
    return mean, np.where(deviation <= 1e-12 * np.abs(mean), 1.0, deviation)


def scaled(
    rows: npt.NDArray[np.float64],
    mean: npt.NDArray[np.float64],
    deviation: npt.NDArray[np.float64],
    path: str,
) -> npt.NDArray[np.float32]:
    """``(rows - mean) / deviation`` as float32.

    Raises:
        TaskError: A number becomes too large for float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        result: npt.NDArray[np.float32] = ((rows - mean) / deviation).astype(np.float32)
    usable = np.isfinite(result).all(axis=0) & np.isfinite(mean) & np.isfinite(deviation)
    if not usable.all():
        largest = np.abs(rows[:, ~usable]).max()
        raise TaskError(
            f"{path}: the value {largest:g} is too large to compute with. Rescale the data."
        )
    return result
