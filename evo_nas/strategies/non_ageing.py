"""Evolution without ageing: the worst leaves, not the oldest. A control, to show what ageing gives.

Real et al. 2019 compare both (their section on non-ageing, or "standard", evolution): a lucky score
stays in the population for good.
"""

from __future__ import annotations

import heapq
from collections import deque

from deap import base

from evo_nas.config_tables import SearchConfig
from evo_nas.history import History
from evo_nas.individual import Individual
from evo_nas.past import EVERYTHING, Past
from evo_nas.strategies.regularized import RegularizedEvolution


class NonAgeingEvolution(RegularizedEvolution):
    """The population are the P best of everyone with a fitness; of equals, those told first."""

    def __init__(
        self, config: SearchConfig, history: History, toolbox: base.Toolbox | None = None
    ) -> None:
        super().__init__(config, history, toolbox)
        self.memory = EVERYTHING
        self._everyone: list[Individual] = []

    def restore(self, past: Past) -> None:
        """See ``Strategy``."""
        self._everyone = self.history.restore(past)
        self._select()

    def _enter(self, individual: Individual) -> None:
        """Among everyone; who is in the population is found anew."""
        self._everyone.append(individual)
        self._let_stand(self._everyone, individual.digest)
        self._select()

    def _select(self) -> None:
        best = heapq.nlargest(self.size, self._everyone, key=lambda one: one.fitness.values)
        self.population = deque(best, maxlen=self.size)
