"""Evolution without ageing: the worst leaves, not the oldest. A control, to show what ageing gives.

Real et al. 2019 compare both (their section on non-ageing, or "standard", evolution): a lucky score
stays in the population for good.
"""

from __future__ import annotations

import heapq
import sys
from collections import deque

from deap import base

from evo_nas.config_tables import SearchConfig
from evo_nas.events import Told
from evo_nas.history import History
from evo_nas.individual import Individual
from evo_nas.past import Past
from evo_nas.strategies.regularized import RegularizedEvolution

EVERYONE = sys.maxsize


class NonAgeingEvolution(RegularizedEvolution):
    """The population are the P best of everyone with a fitness; of equals, those told first."""

    def __init__(
        self, config: SearchConfig, history: History, toolbox: base.Toolbox | None = None
    ) -> None:
        super().__init__(config, history, toolbox)
        self.memory = EVERYONE
        self._everyone: list[Individual] = []

    def restore(self, past: Past) -> None:
        """See ``Strategy``."""
        self._everyone = self.history.restore(past)
        self._select()

    def tell(self, event: Told) -> None:
        """Let a candidate compete for a place in the population, unless it failed."""
        individual = self.history.note_told(event)
        if individual is None:
            return
        self._everyone.append(individual)
        standing = self.history.standing(individual.digest)
        for other in self._everyone:
            if other.digest == individual.digest:
                other.fitness.values = standing
        self._select()

    def _select(self) -> None:
        best = heapq.nlargest(self.size, self._everyone, key=lambda one: one.fitness.values)
        self.population = deque(best, maxlen=self.size)
