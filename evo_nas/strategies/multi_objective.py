"""Evolution towards a Pareto front: the metric against what a cell costs.

Deb, Pratap, Agarwal, Meyarivan 2002, "A fast and elitist multiobjective genetic algorithm:
NSGA-II", with DEAP's ranking: the population are the P best of everyone by non-dominated front and
crowding distance (who cannot be among them is not sorted: see `contenders`), a parent is the better
of two drawn (front first, then crowding). Costs are properties of the cell at the hidden size it is
trained at, not measured times, so a search depends on no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from deap import base, tools

from evo_nas.config_tables import SearchConfig
from evo_nas.history import History
from evo_nas.individual import Individual
from evo_nas.past import EVERYTHING, Past
from evo_nas.strategies.contenders import Contenders
from evo_nas.strategies.regularized import RegularizedEvolution
from genomes.canonical import canonical
from genomes.cost import recurrent_multiply_adds


class _Two(base.Fitness):  # type: ignore[misc]
    """Fitness (higher is better) and a cost."""

    weights = (1.0, -1.0)


class _Three(base.Fitness):  # type: ignore[misc]
    """Fitness (higher is better) and two costs."""

    weights = (1.0, -1.0, -1.0)


@dataclass(eq=False)
class _Placed:
    """An individual among the others; ``fitness`` is what DEAP's functions look at."""

    individual: Individual
    fitness: Any
    front: int = 0
    crowding: float = 0.0


class MultiObjectiveEvolution(RegularizedEvolution):
    """NSGA-II's selection, one candidate at a time."""

    def __init__(
        self, config: SearchConfig, history: History, toolbox: base.Toolbox | None = None
    ) -> None:
        super().__init__(config, history, toolbox)
        self.memory = EVERYTHING
        self.objectives = config.evolution.objectives
        self._layers = config.training.num_layers
        self._told: list[_Placed] = []
        self._places: dict[str, int] = {}
        self._placed: list[_Placed] = []
        self._look_at_everyone()
        self.toolbox.register("select", self._better_of_two)

    def restore(self, past: Past) -> None:
        """See ``Strategy``."""
        self._told, self._places = [], {}
        for individual in self.history.restore(past):
            if individual.digest not in self._places:
                self._note(individual)
        self._look_at_everyone()
        self._renew()

    def _enter(self, individual: Individual) -> None:
        """Among everyone, once for each cell; who survives is found anew."""
        place = self._places.get(individual.digest)
        if place is None:
            self._let_stand([individual], individual.digest)
            placed = self._note(individual)
            self._pool.add(len(self._told) - 1, np.array(placed.fitness.wvalues))
        else:
            # A cell that got worse may make room for one that was no contender.
            known = self._told[place]
            self._let_stand([known.individual], individual.digest)
            known.fitness = self._fitness_of(known.individual)
            self._look_at_everyone()
        self._renew()

    def _note(self, individual: Individual) -> _Placed:
        placed = _Placed(individual, self._fitness_of(individual))
        self._places[individual.digest] = len(self._told)
        self._told.append(placed)
        return placed

    def _look_at_everyone(self) -> None:
        values = np.array([one.fitness.wvalues for one in self._told])
        self._pool = Contenders(values.reshape(-1, 1 + len(self.objectives)), self.size)

    def _renew(self) -> None:
        self._placed = self._survivors()
        self.population = deque((one.individual for one in self._placed), maxlen=self.size)

    def _better_of_two(
        self, population: Sequence[Individual], rng: np.random.Generator
    ) -> Individual:
        first, second = (self._placed[i] for i in rng.integers(len(self._placed), size=2))
        better: _Placed = max((first, second), key=lambda one: (-one.front, one.crowding))
        return better.individual

    def _survivors(self) -> list[_Placed]:
        """The P best of everyone: whole fronts, and of the last the least crowded."""
        if not self._told:
            return []  # which DEAP's sorting would not take
        contenders = [self._told[row] for row in self._pool.rows]
        chosen: list[_Placed] = []
        for number, front in enumerate(tools.sortLogNondominated(contenders, self.size)):
            tools.emo.assignCrowdingDist(front)
            for one in front:
                one.front, one.crowding = number, one.fitness.crowding_dist
            by_room = sorted(front, key=lambda one: -one.crowding)
            chosen += by_room[: self.size - len(chosen)]
        return chosen

    def _fitness_of(self, individual: Individual) -> base.Fitness:
        asked = individual.asked
        costs: dict[str, Callable[[], int]] = {
            "parameters": lambda: asked.recurrent_parameters,
            "multiply_adds": lambda: recurrent_multiply_adds(
                canonical(individual.genome), asked.hidden_size, self._layers
            ),
        }
        values = (individual.fitness.values[-1], *(costs[name]() for name in self.objectives))
        return (_Two if len(values) == 2 else _Three)(values)
