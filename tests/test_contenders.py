"""Who may be among the best by non-dominated front: nobody who may is left out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evo_nas.strategies.contenders import BLOCK, Contenders

CELLS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=40)
Cell = tuple[int, int, int]


def ranks(cells: list[Cell]) -> list[int]:
    """The number of the front of each, found the slow way: one front is taken off after another."""

    def dominates(a: Cell, b: Cell) -> bool:
        return a != b and all(x >= y for x, y in zip(a, b, strict=True))

    left, found, number = set(range(len(cells))), [0] * len(cells), 0
    while left:
        front = {i for i in left if not any(dominates(cells[j], cells[i]) for j in left)}
        for i in front:
            found[i] = number
        left, number = left - front, number + 1
    return found


@given(CELLS, st.integers(1, 8), st.integers(1, 40))
def test_fronts_of_the_contenders_are_fronts_of_everyone(
    cells: list[Cell], size: int, told: int
) -> None:
    """Told some at once and the rest one by one, as a search that was resumed is."""
    values = np.array(cells, float)
    pool = Contenders(values[:told], size)
    for row in range(told, len(cells)):
        pool.add(row, values[row])
    assert pool.rows == Contenders(values, size).rows == sorted(pool.rows)
    everyone, kept = ranks(cells), ranks([cells[k] for k in pool.rows])
    assert [everyone[k] for k in pool.rows] == kept
    assert sorted(kept)[:size] == sorted(everyone)[:size]


def test_the_pool_stays_small_however_many_are_told_and_whether_or_not_they_tie() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.random((20 * BLOCK, 2)), rng.integers(0, 2, (20 * BLOCK, 2)).astype(float)):
        assert 10 <= len(Contenders(values, 10).rows) < BLOCK
