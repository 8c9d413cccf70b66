"""Which part of the data trains, which decides fitness, which is opened at the end only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from workers.tasks.errors import TaskError

Split = tuple[float, float, float]
Indices = npt.NDArray[np.int64]

DEFAULT_SPLIT: Split = (0.8, 0.1, 0.1)


def contiguous(count: int, split: Split, what: str) -> tuple[range, range, range]:
    """Ranges of training, validation and test, in this order from the start.

    Args:
        count: How many symbols or rows there are.
        split: Three whole numbers count symbols or rows; otherwise they are fractions of
            ``count``. What they leave over at the end is not used.
        what: What is counted, for the message: ``rows``.

    Raises:
        TaskError: A number is not positive, or together they exceed what there is.
    """
    shares = [Fraction(str(share)) for share in split]
    whole = all(isinstance(share, int) for share in split)
    limit = count if whole else 1
    if min(shares) <= 0 or sum(shares) > limit:
        raise TaskError(
            f"option split = {list(split)}: give three positive fractions with sum at most 1, or "
            f"three whole numbers of {what} with sum at most {count:,}."
        )
    scale = 1 if whole else count
    first, second, third = (int(sum(shares[: i + 1]) * scale) for i in range(3))
    return range(0, first), range(first, second), range(second, third)


def stratified(
    keys: Iterable[bytes | memoryview], labels: Indices, shares: Sequence[Fraction]
) -> list[Indices]:
    """Parts with the same mixture of classes, the same on every machine and in any file order.

    Within each class the members are ordered by the SHA-256 of their key; the first go to the
    parts after the training part, at least one to each if the class has enough members.

    Args:
        keys: Content of each sequence.
        labels: ``(N,)`` class of each sequence.
        shares: Share of each part after the training part.

    Returns:
        Indices, ascending, of the training part and then of each part in ``shares``.
    """
    hashes = bytearray()
    for key in keys:
        hashes += hashlib.sha256(key).digest()
    words = np.frombuffer(hashes, ">u8").reshape(-1, 4)
    order = np.lexsort((*words.T[::-1], labels))  # by class, then hash, then place
    _, firsts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(firsts, counts)
    sizes = {count: _sizes(count, shares) for count in set(counts.tolist())}
    part = np.zeros(len(order), np.int64)
    for number in range(len(shares)):
        ends = np.array([sum(sizes[count][: number + 1]) for count in counts.tolist()], np.int64)
        part[(part == 0) & (rank < np.repeat(ends, counts))] = number + 1
    return [np.sort(order[part == number]) for number in range(len(shares) + 1)]


def _sizes(count: int, shares: Sequence[Fraction]) -> list[int]:
    """How many of so many members of a class go to each part after the training part."""
    sizes = [int(count * share + Fraction(1, 2)) for share in shares]
    return [max(1, size) for size in sizes] if count > len(shares) else sizes
