"""Hurdles of a candidate, made from how all those before it did at the same steps.

So, Liang, Le 2019, "The Evolved Transformer", section 4, stop candidates at hurdles that are
absolute levels (means of fitness). Here a hurdle is a rank, as in ASHA (Li et al. 2020, "A System
for Massively Parallel Hyperparameter Tuning", Algorithm 2): what a good level is changes while a
search goes on, and an absolute one loses cells that learn late.

Of those that came to the first rung, the share ``keep`` passes it, ``keep`` squared passes the
second, and so on: who was stopped before counts as worse than everyone at the rung. (Ranking at
each rung only those that came to it is another rule: they were picked by the rungs before, or were
asked for before there was a hurdle, so it compares the picked with the unpicked and costs more for
the same safety; see ``benchmarks/README.md``.)

Candidates that failed count for nothing, even at rungs that they came to. Counted as the worst,
they would lower the hurdle by as much as the space and the learning rate happen to break cells;
counted by what they had reached, cells that run hot and then diverge would raise it.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from evo_nas.config_tables import RungsConfig
from evo_nas.errors import SearchError

Hurdles = tuple[tuple[int, float | None], ...]


@dataclass
class Arrivals:
    """The fitness of everyone scored at each rung it came to.

    Attributes:
        at: By budget and step, ascending. Learning rates follow the budget, so the same step of
            another budget is another rung.
    """

    at: defaultdict[tuple[int, int], list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, budget: int, rungs: Sequence[tuple[int, float]]) -> None:
        """Take into account what one candidate reached: pairs (step, fitness there)."""
        for step, fitness in rungs:
            insort(self.at[budget, step], fitness)

    def there(self, budget: int, step: int) -> Sequence[float]:
        """Everyone's fitness at a rung, ascending."""
        return self.at.get((budget, step), ())


def rung_steps(fractions: Sequence[float], budget: int) -> tuple[int, ...]:
    """The optimiser steps nearest to some shares of a budget, the first step at least.

    Raises:
        SearchError: If two of them are the same step, or one is the end of the budget.
    """
    steps = tuple(max(1, round(share * budget)) for share in fractions)
    if len(set(steps)) < len(steps) or budget in steps:
        shares = ", ".join(f"{share:g}" for share in fractions)
        raise SearchError(
            f"rungs.fractions {shares} of {budget} steps are the steps "
            f"{', '.join(map(str, steps))}: each must be another one, and before the last. "
            "Give fewer fractions or more steps."
        )
    return steps


def hurdles(rungs: RungsConfig, arrivals: Arrivals, budget: int) -> Hurdles:
    """Where a candidate asked for now is measured, and what it has to reach there.

    A pure function of what was told. A candidate that is as good as the hurdle passes it.

    Returns:
        Pairs (step, fitness), steps ascending; None instead of a fitness lets pass, as long as
        fewer than ``least`` came to the first rung.

    Raises:
        SearchError: As `rung_steps`.
    """
    steps = rung_steps(rungs.fractions, budget)
    if not steps:
        return ()
    came = len(arrivals.there(budget, steps[0]))
    found: list[tuple[int, float | None]] = []
    for number, step in enumerate(steps, start=1):
        there = arrivals.there(budget, step)
        # The tolerance: 0.1 * 30 is a little more than 3.
        passing = max(1, math.ceil(rungs.keep**number * came - 1e-9))
        enough = came >= rungs.least and passing <= len(there)
        found.append((step, there[-passing] if enough else None))
    return tuple(found)
