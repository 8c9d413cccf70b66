"""`Individual`: a genome with birth, parent, mutation and fitness, as DEAP's tools expect it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from deap import base

from evo_nas.events import Asked
from genomes.genome import Genome


class Fitness(base.Fitness):  # type: ignore[misc]
    """The optimiser steps reached and the fitness there, higher is better, compared in this order.

    A training is stopped where it does worse than others, so who came further is better than all
    who were stopped before; at equal steps the fitness decides.

    A static class: ``deap.creator`` keeps its classes in a module global, and they change
    identity when unpickled.
    """

    weights = (1.0, 1.0)


@dataclass
class Individual:
    """A candidate that was asked for.

    Attributes:
        asked: As the record holds it.
        fitness: Steps and mean fitness of its digest (`History.standing`); invalid (empty) until
            there is an evaluation that did not fail.
    """

    asked: Asked
    fitness: Fitness = field(default_factory=Fitness)

    @property
    def birth(self) -> int:
        """Number in the order of asking, from 0."""
        return self.asked.birth

    @property
    def generation(self) -> int:
        """Number of ancestors."""
        return self.asked.generation

    @property
    def digest(self) -> str:
        """Of the canonical form."""
        return self.asked.digest

    @cached_property
    def genome(self) -> Genome:
        """The cell as written (not its canonical form); read when it is first wanted, for most
        individuals never become a parent."""
        return Genome.from_json(self.asked.genome)
