"""Who may still be among the P best of everyone by non-dominated front, without sorting everyone.

Who is dominated by P others has P others in earlier fronts, so cannot be among the P best. Those
dominated by fewer are enough to tell that of anybody: of the dominators of one who has P of them,
at least P are dominated by fewer than P themselves. So a pool of the contenders takes newcomers one
by one and stays what it would be if everyone were looked at: some hundred cells, however long the
search. Whose values equal those of P earlier ones is no contender either: a metric with few values
would make the pool as large as the search.
"""

from __future__ import annotations

import numpy as np

from evo_nas.columns import Flags, Floats, Ints

BLOCK = 512
"""So many rows are compared with the pool at once."""


class Contenders:
    """The pool: rows of values, each known by its place in the order of telling.

    Attributes:
        rows: (M,) these places, in order.
    """

    def __init__(self, values: Floats, size: int) -> None:
        """Everyone told so far.

        Args:
            values: (N, D) objectives of everyone told, higher is better in each.
            size: P.
        """
        self.rows: list[int] = []
        self._size = size
        self._values = values[:0]
        self._ahead = np.zeros(0, int)  # (M,) of the pool, how many are better, or equal and before
        # The best first, so that few of the later ones have to be taken in and thrown out again.
        order = np.lexsort(-values.T[::-1])
        for start in range(0, len(order), BLOCK):
            block = order[start : start + BLOCK]
            ahead = _as_good(self._values, values[block]).sum(axis=0)
            for row in block[ahead < size].tolist():
                self.add(row, values[row])
        self._keep(np.argsort(self.rows))

    def add(self, row: int, value: Floats) -> None:
        """Take one more, told after all that are equal to it.

        Args:
            row: Its place in the order of telling.
            value: (D,) its objectives.
        """
        ahead = int(_as_good(self._values, value[None]).sum())
        worse = _as_good(value[None], self._values)[0] & ~(self._values == value).all(axis=1)
        self.rows.append(row)
        self._values = np.vstack([self._values, value])
        self._ahead = np.append(self._ahead + worse, ahead)
        # Whom a row that leaves was ahead of leaves too, so the counts of the others still hold.
        self._keep(np.flatnonzero(self._ahead < self._size))

    def _keep(self, places: Ints) -> None:
        self.rows = [self.rows[k] for k in places]
        self._values, self._ahead = self._values[places], self._ahead[places]


def _as_good(some: Floats, others: Floats) -> Flags:
    """(S, O) whether one of (S, D) is at least as good in all as one of (O, D)."""
    return np.asarray((some[:, None] >= others[None]).all(axis=2))
