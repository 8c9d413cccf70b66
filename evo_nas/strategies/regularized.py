"""Regularized ("ageing") evolution as a state machine: ask, note, tell.

Real, Aggarwal, Huang, Le 2019, "Regularized Evolution for Image Classifier Architecture Search",
Algorithm 1, asynchronous: draw S individuals of the population with replacement, mutate the best
of them; each told child enters the population and the oldest leaves, good or not. Selection and
mutation are registered in a DEAP toolbox, where a user can put others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from deap import base, tools

from evo_nas.config_tables import SearchConfig
from evo_nas.events import Asked, Told
from evo_nas.history import History, Proposal
from evo_nas.individual import Individual
from evo_nas.initial import initial_proposals, propose_initial
from evo_nas.past import Past
from genomes.mutation import mutate


def tournament(
    population: Sequence[Individual], rng: np.random.Generator, *, sample_size: int
) -> Individual:
    """The best of ``sample_size`` individuals drawn with replacement; the first drawn wins ties."""
    drawn = rng.integers(len(population), size=sample_size)
    best: Individual = max((population[i] for i in drawn), key=lambda one: one.fitness)
    return best


def default_toolbox(config: SearchConfig, history: History) -> base.Toolbox:
    """The toolbox of a configuration.

    ``select(population, rng)`` gives the parent; ``mutate(genome, rng=rng)`` gives the child and
    the record of its mutation. Neither may use any other source of randomness.
    """
    toolbox = base.Toolbox()
    toolbox.register("select", tournament, sample_size=config.evolution.sample_size)
    toolbox.register(
        "mutate",
        mutate,
        space=history.rules.space,
        identity_rate=config.evolution.identity_rate,
    )
    return toolbox


class RegularizedEvolution:
    """Ageing evolution behind ask/tell.

    Attributes:
        population: The P individuals told last, oldest first; failed candidates never enter.
        memory: P.
        failures: 0: how a failed candidate looked is of no use here.
        start: How many births are of generation 0.
    """

    failures = 0

    def __init__(
        self, config: SearchConfig, history: History, toolbox: base.Toolbox | None = None
    ) -> None:
        self.history = history
        self.memory = self.size = self.start = config.evolution.population
        self.toolbox = toolbox or default_toolbox(config, history)
        self.population: deque[Individual] = deque(maxlen=self.size)
        self._initial = initial_proposals(config, history.rules)
        self._statistics = tools.Statistics(lambda individual: individual.fitness.values[-1])
        for name, function in (("min", min), ("mean", np.mean), ("max", max)):
            self._statistics.register(name, function)

    def ask(self) -> Asked:
        """The next candidate: of generation 0 for the first births (P of them), and for as long as
        no candidate has a fitness; then a child of the population."""
        if self.history.births < self.start or not self.population:
            return self.history.candidate(propose_initial(self.history, self._initial))
        return self.history.candidate(self._child)

    def _child(self, rng: np.random.Generator) -> Proposal:
        parent: Individual = self.toolbox.select(self.population, rng)
        genome, record = self.toolbox.mutate(parent.genome, rng=rng)
        return Proposal(genome, record, parent)

    def note(self, event: Asked) -> None:
        """See ``Strategy``."""
        self.history.note_asked(event)

    def restore(self, past: Past) -> None:
        """See ``Strategy``."""
        self.population.clear()
        self.population.extend(self.history.restore(past))

    def statistics(self) -> dict[str, float]:
        """``min``, ``mean`` and ``max`` of the fitness of those in the population that came as far
        as its furthest; empty while there is none."""
        if not self.population:
            return {}
        furthest = max(individual.fitness.values[0] for individual in self.population)
        came = [one for one in self.population if one.fitness.values[0] == furthest]
        found: dict[str, float] = self._statistics.compile(came)
        return found

    def tell(self, event: Told) -> None:
        """Let a candidate enter the population, unless it failed."""
        individual = self.history.note_told(event)
        if individual is not None:
            self._enter(individual)

    def _enter(self, individual: Individual) -> None:
        """Into the population; the oldest leaves."""
        self.population.append(individual)
        self._let_stand(self.population, individual.digest)

    def _let_stand(self, individuals: Iterable[Individual], digest: str) -> None:
        """Give all of a digest the fitness that it has now."""
        standing = self.history.standing(digest)
        for individual in individuals:
            if individual.digest == digest:
                individual.fitness.values = standing
