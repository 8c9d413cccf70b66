"""Order and numbers that several kinds of task share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

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
    deviation = rows.std(axis=0)
    return rows.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
