"""Which part of the data trains, which decides fitness, which is opened at the end only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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


def stratified(keys: Sequence[bytes], labels: Indices, shares: Sequence[Fraction]) -> list[Indices]:
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
    hashes = [hashlib.sha256(key).digest() for key in keys]
    parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=lambda i: (hashes[i], i))
        sizes = [int(len(members) * share + Fraction(1, 2)) for share in shares]
        if len(members) > len(shares):
            sizes = [max(1, size) for size in sizes]
        start = 0
        for part, size in zip(parts[1:], sizes, strict=True):
            part += members[start : start + size]
            start += size
        parts[0] += members[start:]
    return [np.array(sorted(part), dtype=np.int64) for part in parts]
