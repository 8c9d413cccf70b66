"""A small learned predictor of fitness from the canonical graph of a cell, with its uncertainty.

A Gaussian process (Rasmussen and Williams 2006, chapter 2) whose kernel is half the similarity
of neighbourhoods (`genomes.features.labels`), half a squared exponential of plain counts and
distances (`genomes.features.numbers`). What it learns are normal scores of ranks, not fitness:
metrics have heavy tails, a failure is simply worse than everything else, and results of other runs,
with other tasks and units, can be taken together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from genomes.features import BLOCKS, BUCKETS, labels, numbers
from genomes.genome import Genome

Vector = npt.NDArray[np.floating[Any]]
Earlier = Sequence[tuple[Genome, float]]
"""Cells of other runs with their normal scores (`evo_nas.warm_start`)."""

NOISE = 0.1
"""Variance of one evaluation's score round the score of its cell; scores have variance 1."""
SHARE_OF_LABELS = 0.5
"""Of the kernel's variance; the rest is that of the numbers."""
LENGTH = 0.7
"""Length scale of the squared exponential, in standard deviations of each number."""
ROOM = 256
"""For so many cells memory is taken at least, and as many may be kept that are wanted no more."""


class Similarities:
    """Dot products of the labels of cells, each computed once.

    They are most of the work of a fit, and between two fits one or two cells are new.
    """

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._labels: Vector = np.zeros((0, BLOCKS * BUCKETS))
        self._products: Vector = np.zeros((0, 0))

    def among(self, digests: Sequence[str], cells: Sequence[Genome]) -> tuple[Vector, Vector]:
        """Labels (N, L) of N cells with their digests, and their products (N, N)."""
        known = self._place.keys()
        new = {d: cell for d, cell in zip(digests, cells, strict=True) if d not in known}
        if new and len(self._place) + len(new) > 2 * len(cells) + ROOM:
            self._place.clear()  # most of what is kept is wanted no more
            new = dict(zip(digests, cells, strict=True))
        if new:
            self._add(new)
        rows = np.array([self._place[digest] for digest in digests])
        return self._labels[rows], self._products[np.ix_(rows, rows)]

    def _add(self, new: Mapping[str, Genome]) -> None:
        known, count = len(self._place), len(self._place) + len(new)
        more = np.array([labels(cell) for cell in new.values()])
        if count > len(self._labels):
            room = max(2 * count, ROOM)
            kept, products = self._labels[:known], self._products[:known, :known]
            self._labels = np.zeros((room, BLOCKS * BUCKETS))
            self._products = np.zeros((room, room))
            self._labels[:known], self._products[:known, :known] = kept, products
        self._labels[known:count] = more
        with_all = more @ self._labels[:count].T
        self._products[known:count, :count] = with_all
        self._products[:count, known:count] = with_all.T
        self._place |= {digest: known + number for number, digest in enumerate(new)}


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """Fitted to N cells and their scores; made by `fitted`.

    Attributes:
        labels: (N, L) of the cells.
        numbers: (N, M) of the cells, standardised.
        mean: (M,) what was taken from the numbers; ``deviation`` what they were divided by.
        inverse: (N, N) of the kernel matrix, noise included.
        weights: (N,) that times the scores.
    """

    labels: Vector
    numbers: Vector
    mean: Vector
    deviation: Vector
    inverse: Vector
    weights: Vector

    def predict(self, cells: Sequence[Genome]) -> tuple[Vector, Vector]:
        """Mean and standard deviation (C,) of the score of each of C cells, noise excluded."""
        others = np.array([labels(cell) for cell in cells])
        counts = (np.array([numbers(cell) for cell in cells]) - self.mean) / self.deviation
        between = _kernel(others @ self.labels.T, counts, self.numbers)
        variance = 1.0 - ((between @ self.inverse) * between).sum(axis=1)
        return between @ self.weights, np.sqrt(np.maximum(variance, 1e-12))


def fitted(
    cells: Sequence[Genome],
    scores: Sequence[float],
    similarities: Similarities | None = None,
    digests: Sequence[str] | None = None,
) -> Predictor:
    """A predictor of the scores of cells.

    Args:
        cells: N of them, at least one; a cell may come several times.
        scores: Of each, of about mean 0 and variance 1; see `normal_scores`.
        similarities: Where products are kept from one fit to the next.
        digests: Of the cells, for who knows them: to find out takes longer than to look up.

    Raises:
        ValueError: If there is no cell, or not one score for each.
    """
    if not cells or len(cells) != len(scores):
        raise ValueError(f"{len(cells)} cells and {len(scores)} scores: give one for each.")
    digests = digests or [cell.digest for cell in cells]
    seen, products = (similarities or Similarities()).among(digests, cells)
    counts = np.array([numbers(cell) for cell in cells])
    mean, deviation = counts.mean(axis=0), counts.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    counts = (counts - mean) / deviation
    # With so much noise the matrix is far from singular, and its inverse serves every prediction.
    inverse = np.linalg.inv(_kernel(products, counts, counts) + NOISE * np.eye(len(cells)))
    return Predictor(seen, counts, mean, deviation, inverse, inverse @ np.asarray(scores))


def _kernel(products: Any, numbers_a: Vector, numbers_b: Vector) -> Vector:
    """(A, B) covariances of cells, 1 for one with itself.

    Args:
        products: (A, B) of their labels.
        numbers_a: (A, M) standardised; ``numbers_b`` (B, M).
    """
    squares = (numbers_a**2).sum(axis=1)[:, None] + (numbers_b**2).sum(axis=1)
    apart = np.maximum(squares - 2 * numbers_a @ numbers_b.T, 0.0)
    # Each number that varies adds about 2 to the distance of two cells: per number, the scale of
    # one of them is that of all.
    near = np.exp(-apart / (2 * LENGTH**2 * numbers_a.shape[1]))
    result: Vector = SHARE_OF_LABELS * products + (1 - SHARE_OF_LABELS) * near
    return result


def normal_scores(standings: Sequence[Any]) -> Vector:
    """What a standard normal variable has at the rank of each standing (Blom 1958).

    Args:
        standings: Comparable with each other, higher is better; None for a failure, which is
            worse than everything else. Equal ones share their mean rank.

    Returns:
        (N,) scores; higher is better.
    """
    count = len(standings)
    succeeded = sorted({s for s in standings if s is not None})
    place = {None: 0} | {standing: number for number, standing in enumerate(succeeded, start=1)}
    level = np.array([place[standing] for standing in standings], dtype=np.int64)
    size = np.bincount(level, minlength=len(place))
    ranks = np.cumsum(size) - (size - 1) / 2  # 1-based, the mean of those that are equal
    normal = NormalDist()
    of_level = [
        normal.inv_cdf((rank - 0.5) / count) if n else 0.0
        for rank, n in zip(ranks, size, strict=True)
    ]
    return np.array(of_level)[level]
