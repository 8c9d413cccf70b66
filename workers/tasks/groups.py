"""Sequences of unequal lengths in groups that waste little on padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workers.tasks.splits import Indices


def groups(lengths: Indices, sequences: int, numbers: int) -> Iterator[Indices]:
    """Indices of all sequences once, the shortest first, in groups to be padded to their longest.

    Args:
        lengths: ``(N,)`` of the sequences.
        sequences: Most sequences in a group.
        numbers: Most steps in a group, padding counted; a sequence that has more stands alone.
    """
    order = np.argsort(lengths, kind="stable")
    begin = 0
    for end in range(1, len(order) + 1):
        size = end + 1 - begin
        if end == len(order) or size > sequences or size * lengths[order[end]] > numbers:
            yield order[begin:end]
            begin = end
