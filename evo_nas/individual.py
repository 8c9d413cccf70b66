"""`Individual`: a genome with birth, parent, mutation and fitness, as DEAP's tools expect it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deap import base

from genomes.genome import Genome


class Fitness(base.Fitness):  # type: ignore[misc]
    """One number, higher is better.

    A static class: ``deap.creator`` keeps its classes in a module global, and they change
    identity when unpickled.
    """

    weights = (1.0,)


@dataclass(slots=True)
class Individual:
    """A candidate that was asked for.

    Attributes:
        genome: The cell as written (not its canonical form).
        birth: Number in the order of asking, from 0.
        parent: Birth of the parent, None in generation 0.
        generation: Number of ancestors.
        mutation: The record of how it came about.
        digest: Of the canonical form.
        fitness: The mean over its digest's evaluations; invalid (empty) until there is one.
    """

    genome: Genome
    birth: int
    parent: int | None
    generation: int
    mutation: dict[str, Any]
    digest: str
    fitness: Fitness = field(default_factory=Fitness)
